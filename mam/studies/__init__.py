"""Studies: a plan of runs on one workbench. Later plans add configurations, not machinery."""
