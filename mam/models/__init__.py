"""Models: checkpoints on disk, the attention blocks in them, targets to evaluate and sources to read."""
