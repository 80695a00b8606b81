"""The records of runs: result.json as types, the run folder, and reading both back."""
