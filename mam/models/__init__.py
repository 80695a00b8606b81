"""Models: checkpoints on disk, the attention blocks in them, targets that are evaluated, sources that are read."""
