"""Choosing λ on dev, and only there; the run then reports on test."""
