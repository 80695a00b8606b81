"""Evaluation: the part that does not depend on λ is computed once, the rest for each merge."""
