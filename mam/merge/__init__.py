"""Merging: selection, pairing and schedules decide, methods and controls compute, apply writes into the model."""
