"""The Python interface: experiments, and merging of models in memory. Use it with `import mam`; see docs/python.md."""

import warnings
from importlib import import_module

with warnings.catch_warnings():  # transformers and datasets import it, and what it misses is a progress bar
    warnings.filterwarnings("ignore", message="IProgress not found")
    import_module("tqdm.auto")
