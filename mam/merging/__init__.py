"""Merging: selection, pairing and schedules make a plan; methods and controls compute; the merger writes."""
