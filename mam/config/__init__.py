"""The schema of a configuration, its checks, and the composition of command lines into configurations."""
