"""Launchers: running a plan in several processes, on this machine or on a cluster."""
