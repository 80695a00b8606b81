"""The actions behind the command line: run, rescore, inspect, merge, compare, export."""
