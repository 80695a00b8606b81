"""What the verbs of the command line do: run, rescore, inspect, merge, compare, export."""
