"""Reports: finished runs become tables."""
