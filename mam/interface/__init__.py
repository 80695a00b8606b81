"""mam from Python: experiments, and merges of models in memory. `import mam` has all of it; see docs/python.md."""
