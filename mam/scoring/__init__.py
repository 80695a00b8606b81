"""Scoring: lists in, numbers out, independent of models, files and configurations."""
