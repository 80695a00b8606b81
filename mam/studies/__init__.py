"""Studies: plans of runs on one workbench. A new study needs a configuration, no new code."""
