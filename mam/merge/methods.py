"""How a target tensor and a source tensor become one. Pure functions; λ=0 and λ=1 are taken care of by `apply`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Method = Callable[["Tensor", "Tensor", float], "Tensor"]
METHODS: dict[str, Method] = {}


def method(function: Method) -> Method:
    """Register ``function`` (target, source, λ) -> merged under its own name. Tensors are fp32 of one shape."""
    METHODS[function.__name__] = function
    return function


@method
def linear(target: Tensor, source: Tensor, lam: float) -> Tensor:
    """MAM: W = (1-λ) W_t + λ W_s (Sundar et al., arXiv 2312.14378). Any shape, fp32."""
    return target.lerp(source, lam)
