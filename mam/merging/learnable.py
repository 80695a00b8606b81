"""λ as a parameter (L-MAM): the effective weight is computed from target, source and λ in every forward pass.

W = (1-λ) W_t + λ W_s, or with ``method=reparam`` W_t + λ W_s, with W_t trained or fixed, W_s frozen, and λ shared
according to `Lambdas.per` (Sundar et al., arXiv 2312.14378, Learnable-MAM; the sharing, the constraints, the initial
values and several sources are mam's own). Several sources have a λ each: W = (1-Σλ_i) W_t + Σ λ_i W_i.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from mam.merging.lambdas import Lambdas
from mam.merging.merger import Block
from mam.merging.mixing import Given
from mam.merging.plan import MergePlan


class Mix(torch.autograd.Function):
    """(1-Σλ_i) W_t + Σ λ_i W_i for tensors of equal shape, with λ broadcast; keeps only references for backward."""

    @staticmethod
    def forward(ctx: Any, target: Tensor, *sources_and_lams: Tensor) -> Tensor:  # noqa: D102
        ctx.save_for_backward(target, *sources_and_lams)
        (source, lam), *further = _pairs(sources_and_lams)
        mixed = target.lerp(source.to(target.dtype), lam)
        for source, lam in further:
            mixed.addcmul_(source.to(target.dtype) - target, lam)
        return mixed

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Compute dW/dW_t = 1-Σλ_i, and dW/dλ_i = W_i - W_t summed over the entries that share λ_i."""
        target, *sources_and_lams = ctx.saved_tensors
        # A linear layer's gradient is transposed; one copy is cheaper than three strided passes.
        is_ours = not grad.is_contiguous()
        grad = grad.contiguous()
        grads: list[Tensor | None] = []
        rest: Tensor | float = 1.0
        for number, (source, lam) in enumerate(_pairs(sources_and_lams)):
            rest = rest - lam
            needs = ctx.needs_input_grad[2 + 2 * number]
            own = (source.to(target.dtype) - target).mul_(grad).sum_to_size(lam.shape) if needs else None
            grads += [None, own]
        target_grad = None
        if ctx.needs_input_grad[0]:
            target_grad = grad.mul_(rest) if is_ours else grad * rest
        return target_grad, *grads


class Addition(torch.autograd.Function):
    """W_t + Σ λ_i W_i for tensors of equal shape, with λ broadcast; keeps only references for the backward pass."""

    @staticmethod
    def forward(ctx: Any, target: Tensor, *sources_and_lams: Tensor) -> Tensor:  # noqa: D102
        ctx.save_for_backward(*sources_and_lams)
        mixed = target
        for source, lam in _pairs(sources_and_lams):
            mixed = torch.addcmul(mixed, source.to(target.dtype), lam)
        return mixed

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Compute dW/dW_t = 1, and dW/dλ_i = W_i summed over the entries that share λ_i."""
        grads: list[Tensor | None] = []
        for number, (source, lam) in enumerate(_pairs(ctx.saved_tensors)):
            needs = ctx.needs_input_grad[2 + 2 * number]
            grads += [None, (source.to(grad.dtype) * grad).sum_to_size(lam.shape) if needs else None]
        return grad if ctx.needs_input_grad[0] else None, *grads


def _pairs(sources_and_lams: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Return (source, λ) for each source."""
    return list(zip(sources_and_lams[::2], sources_and_lams[1::2], strict=True))


MIXES: dict[str, type[torch.autograd.Function]] = {"linear": Mix, "reparam": Addition}  # by the learnable METHODS


class MixedTensor(nn.Module):
    """The parametrization of one weight ``[out, in]`` or bias ``[out]``.

    The tensors of the sources are kept in ``dtype`` and not saved in checkpoints. ``lambdas`` is referenced but not
    owned, so that it is registered only once.
    """

    heads: Tensor | None

    def __init__(
        self,
        sources: Sequence[Tensor],
        lambdas: Lambdas,
        names: Sequence[Sequence[str]],
        heads: Tensor | None,
        dtype: torch.dtype,
        method: str = "linear",
    ) -> None:
        """Prepare a mix of one tensor by a method in `MIXES`.

        ``names`` has the names of λ for each source. ``heads`` is the index into them for each row (for O: each
        column), with -1 for none; None if one λ covers all.
        """
        super().__init__()
        self._buffer_names = [f"source_{n}" if n > 1 else "source" for n in range(1, len(sources) + 1)]
        for name, source in zip(self._buffer_names, sources, strict=True):
            self.register_buffer(name, source.to(dtype), persistent=False)
        self._lambdas, self._mix = (lambdas,), MIXES[method]
        self._places = [[lambdas.names.index(name) for name in of_source] for of_source in names]
        self.register_buffer("heads", heads, persistent=False)

    def forward(self, target: Tensor) -> Tensor:
        """Return the effective tensor."""
        lams, sources_and_lams = self._lambdas[0].values, list[Tensor]()
        for name, places in zip(self._buffer_names, self._places, strict=True):
            sources_and_lams += [getattr(self, name), self._spread(lams, places).to(target.dtype)]
        mixed: Tensor = self._mix.apply(target, *sources_and_lams)  # type: ignore[no-untyped-call]
        return mixed

    def _spread(self, lams: Tensor, places: Sequence[int]) -> Tensor:
        """Return one source's λ: a single one, or one per row, with 0 for heads that are not merged."""
        if self.heads is None:
            return lams[places[0]]  # indexing by a list makes the backward pass on a GPU sort and scatter
        return torch.cat([lams[places], lams.new_zeros(1)])[self.heads]


def learn(
    blocks: Sequence[Block],
    plan: MergePlan,
    sources: Mapping[tuple[int, str], Given],
    lambdas: Lambdas,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Make the merge of ``plan`` part of the model, with λ from ``lambdas``; `fold` undoes it.

    Args:
        blocks: The blocks of the unmerged target.
        plan: Defines layers, parts, heads and whether biases are merged.
        sources: The tensors in the place of each source's, by target layer and part; see `Merger.sources`.
        lambdas: Created from the same plan.
        dtype: The dtype in which the sources are kept.
    """
    method = plan.options.method.name
    for (layer, part), given in sources.items():
        linear, weights = blocks[layer].projection(part), [weight for weight, _ in given]
        names = [lambdas.names_of(layer, part, source) for source in range(len(given))]
        rows = _rows(plan, lambdas, part, weights[0].shape)
        column = None if rows is None else (rows[None, :] if part == "o" else rows[:, None])
        mixed = MixedTensor(weights, lambdas, names, column, dtype, method).to(linear.weight.device)
        parametrize.register_parametrization(linear, "weight", mixed, unsafe=True)
        if plan.options.bias and linear.bias is not None and not (part == "o" and rows is not None):
            biases = [torch.zeros_like(linear.bias) if bias is None else bias for _, bias in given]
            mixed = MixedTensor(biases, lambdas, names, rows, dtype, method).to(linear.weight.device)
            parametrize.register_parametrization(linear, "bias", mixed, unsafe=True)


def fold(blocks: Sequence[Block]) -> None:
    """Write the effective tensors into the model and remove λ and source, leaving a plain model."""
    _forget(blocks, keeps=True)


def unlearn(blocks: Sequence[Block]) -> None:
    """Remove λ and source, leaving the target's own tensors."""
    _forget(blocks, keeps=False)


def _forget(blocks: Sequence[Block], keeps: bool) -> None:
    for block in blocks:
        for part in block.parts:
            linear = block.projection(part)
            for name in ("weight", "bias"):
                if parametrize.is_parametrized(linear, name):
                    parametrize.remove_parametrizations(linear, name, leave_parametrized=keeps)


def _rows(plan: MergePlan, lambdas: Lambdas, part: str, shape: torch.Size) -> Tensor | None:
    """Return the index of the λ for each row of Q, K, V (for O: each column), -1 for none; None if one λ covers all."""
    if plan.heads is None and lambdas.per != "head":
        return None
    rows = torch.full((shape[1 if part == "o" else 0],), -1)
    for place, head in enumerate(lambdas.chosen):
        rows[head * plan.target.head_width : (head + 1) * plan.target.head_width] = (
            place if lambdas.per == "head" else 0
        )
    return rows
