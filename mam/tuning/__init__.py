"""Choosing λ for a run, on dev or, without labels, on any recordings."""
