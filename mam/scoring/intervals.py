"""Names of the intervals of a difference, without what computes them."""

INTERVALS = ("sign_flip", "bootstrap")
