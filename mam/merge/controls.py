"""Merges whose source carries no knowledge. What they gain as well, the source's content cannot have caused."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Control = Callable[["Tensor"], "Tensor"]
CONTROLS: dict[str, Control] = {}


def control(function: Control) -> Control:
    """Register ``function``: a source tensor -> the tensor that takes its place. fp32, shape kept."""
    CONTROLS[function.__name__] = function
    return function


@control
def none(source: Tensor) -> Tensor:
    """The source itself: no control."""
    return source


@control
def shrink(source: Tensor) -> Tensor:
    """Zeros: W = (1-λ) W_t. Softer attention (logits scale by (1-λ)²) and smaller values, without any source."""
    return source.new_zeros(source.shape)
