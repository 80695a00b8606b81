"""The names of the intervals of a difference, without the code that computes them."""

INTERVALS = ("sign_flip", "bootstrap")
