"""Evaluation: what does not depend on λ computed once, then the rest for each merge."""
