"""The verbs of the command line, one a file; each has ``main(argv) -> exit code`` and imports torch late."""
