"""The schema of a configuration, its checks, and how the words of a command line become configurations."""
