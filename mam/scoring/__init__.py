"""Scoring: lists in, numbers out. Knows nothing of models, files or configurations."""
