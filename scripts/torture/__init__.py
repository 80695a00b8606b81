"""Attacks on mam, as a careful stranger would make them: `python -m scripts.torture --list`, `make torture`."""
