"""λ as a parameter (L-MAM): the effective weight is computed from target, source and λ in every forward pass.

W = (1-λ) W_t + λ W_s, or with ``method=reparam`` W_t + λ W_s, with W_t trained or fixed, W_s frozen, and λ shared
according to `Lambdas.per` (Sundar et al., arXiv 2312.14378, Learnable-MAM; the sharing, the constraints and the initial
values are mam's own).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from mam.errors import MergeError
from mam.merging.merger import Block
from mam.merging.methods import Projection
from mam.merging.plan import MergePlan
from mam.merging.tables import CONSTRAINTS


@dataclass(frozen=True)
class Constraint:
    """The map from a parameter θ to λ = ``lam(θ)``.

    ``raw`` is its inverse, defined for ``least`` < λ < ``most`` and, if ``is_closed``, at the ends. ``projects`` means
    that θ is clamped to these bounds after every step.
    """

    lam: Callable[[Tensor], Tensor]
    raw: Callable[[float], float]
    least: float
    most: float
    is_closed: bool = True
    projects: bool = False


RULES: dict[str, Constraint] = {  # by the names in CONSTRAINTS
    "none": Constraint(lambda raw: raw, lambda lam: lam, -math.inf, math.inf),
    "clamp": Constraint(lambda raw: raw, lambda lam: lam, 0.0, 1.0, projects=True),
    "sigmoid": Constraint(torch.sigmoid, lambda lam: math.log(lam / (1 - lam)), 0.0, 1.0, is_closed=False),
    "tanh": Constraint(torch.tanh, math.atanh, -1.0, 1.0, is_closed=False),
}
assert set(RULES) == set(CONSTRAINTS)


class Lambdas(nn.Module):
    """All λ of a model as one parameter vector ``raw``, shared ``per`` model, layer, projection or head.

    ``names`` has one name per λ: ``all``, ``3`` (layer), ``3.q`` (layer, part) or ``3.q.0`` (layer, part, head).
    """

    def __init__(self, plan: MergePlan, per: str = "layer", constraint: str = "clamp") -> None:
        """Create the parameters from the initial λ of each layer in ``plan``.

        Raises:
            MergeError: An initial λ is outside the constraint, or a shared λ has several initial values.
        """
        super().__init__()
        self.per, self.constraint = per, constraint
        self.chosen = list(range(plan.target.heads)) if plan.heads is None else list(plan.heads)
        initial: dict[str, float] = {}
        for layer in plan.layers:
            for part in plan.parts_at(layer):
                for name in self.names_of(layer, part):
                    if initial.setdefault(name, plan.lams[layer]) != plan.lams[layer]:
                        raise MergeError("train.lam.per=global: one λ has one initial value. Say schedule=constant.")
        rule = RULES[constraint]
        for lam in initial.values():
            if not (rule.least <= lam <= rule.most) or (not rule.is_closed and lam in (rule.least, rule.most)):
                raise MergeError(
                    f"lam={lam:g}: train.lam.constraint={constraint} keeps λ between {rule.least:g} and {rule.most:g}"
                    f"{'' if rule.is_closed else ', without the ends'}; start inside."
                )
        self.names = list(initial)
        self.initial = torch.tensor(list(initial.values()))
        self.raw = nn.Parameter(torch.tensor([rule.raw(lam) for lam in initial.values()]))

    def names_of(self, layer: int, part: str) -> list[str]:
        """Return the names of the λ of one projection: one name, or one per merged head."""
        if self.per == "head":
            return [f"{layer}.{part}.{head}" for head in self.chosen]
        names = {"global": "all", "layer": f"{layer}", "part": f"{layer}.{part}"}
        return [names[self.per]]

    @property
    def values(self) -> Tensor:
        """Every λ, in the order of ``names``."""
        return RULES[self.constraint].lam(self.raw)

    def of(self, names: Sequence[str]) -> Tensor:
        """Return the λ with these names."""
        return self.values[[self.names.index(name) for name in names]]

    def as_dict(self) -> dict[str, float]:
        """Return every λ by name."""
        return dict(zip(self.names, self.values.detach().tolist(), strict=True))

    @torch.no_grad()
    def project(self) -> None:
        """Clamp λ to its bounds, if the constraint requires it after a step."""
        rule = RULES[self.constraint]
        if rule.projects:
            self.raw.clamp_(rule.least, rule.most)

    def pull(self) -> Tensor:
        """Return Σ (λ - initial λ)²."""
        return (self.values - self.initial.to(self.raw.device)).square().sum()


class Mix(torch.autograd.Function):
    """(1-λ) W_t + λ W_s for tensors of equal shape, with λ broadcast; keeps only references for the backward pass."""

    @staticmethod
    def forward(ctx: Any, target: Tensor, source: Tensor, lam: Tensor) -> Tensor:  # noqa: D102
        ctx.save_for_backward(target, source, lam)
        return target.lerp(source.to(target.dtype), lam)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        """Compute dW/dW_t = 1-λ, and dW/dλ = W_s - W_t summed over the entries that share λ."""
        target, source, lam = ctx.saved_tensors
        # A linear layer's gradient is transposed; one copy is cheaper than three strided passes.
        is_ours = not grad.is_contiguous()
        grad = grad.contiguous()
        target_grad, lam_grad = None, None
        if ctx.needs_input_grad[2]:
            lam_grad = (source.to(target.dtype) - target).mul_(grad).sum_to_size(lam.shape)
        if ctx.needs_input_grad[0]:
            target_grad = grad.mul_(1 - lam) if is_ours else grad * (1 - lam)
        return target_grad, None, lam_grad


class Addition(torch.autograd.Function):
    """W_t + λ W_s for tensors of equal shape, with λ broadcast; keeps only references for the backward pass."""

    @staticmethod
    def forward(ctx: Any, target: Tensor, source: Tensor, lam: Tensor) -> Tensor:  # noqa: D102
        ctx.save_for_backward(source, lam)
        return torch.addcmul(target, source.to(target.dtype), lam)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        """Compute dW/dW_t = 1, and dW/dλ = W_s summed over the entries that share λ."""
        source, lam = ctx.saved_tensors
        lam_grad = (source.to(grad.dtype) * grad).sum_to_size(lam.shape) if ctx.needs_input_grad[2] else None
        return grad if ctx.needs_input_grad[0] else None, None, lam_grad


MIXES: dict[str, type[torch.autograd.Function]] = {"linear": Mix, "reparam": Addition}  # by the learnable METHODS


class MixedTensor(nn.Module):
    """The parametrization of one weight ``[out, in]`` or bias ``[out]``.

    ``source`` is kept in ``dtype`` and not saved in checkpoints. ``lambdas`` is referenced but not owned, so that it is
    registered only once.
    """

    source: Tensor
    heads: Tensor | None

    def __init__(
        self,
        source: Tensor,
        lambdas: Lambdas,
        names: Sequence[str],
        heads: Tensor | None,
        dtype: torch.dtype,
        method: str = "linear",
    ) -> None:
        """Prepare a mix of one tensor by a method in `MIXES`.

        ``heads`` is the index into ``names`` for each row (for O: each column), with -1 for none; None if one λ covers
        all.
        """
        super().__init__()
        self.register_buffer("source", source.to(dtype), persistent=False)
        self._lambdas, self._names, self._mix = (lambdas,), list(names), MIXES[method]
        self._places = [lambdas.names.index(name) for name in names]
        self.register_buffer("heads", heads, persistent=False)

    def forward(self, target: Tensor) -> Tensor:
        """Return the effective tensor."""
        lams = self._lambdas[0].values
        if self.heads is None:
            lam = lams[self._places[0]]  # indexing by a list makes the backward pass on a GPU sort and scatter
        else:  # an additional λ of 0 is for heads that are not merged
            lam = torch.cat([lams[self._places], lams.new_zeros(1)])[self.heads]
        mixed: Tensor = self._mix.apply(target, self.source, lam.to(target.dtype))  # type: ignore[no-untyped-call]
        return mixed


def learn(
    blocks: Sequence[Block],
    plan: MergePlan,
    sources: Mapping[tuple[int, str], Projection],
    lambdas: Lambdas,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Make the merge of ``plan`` part of the model, with λ from ``lambdas``; `fold` undoes it.

    Args:
        blocks: The blocks of the unmerged target.
        plan: Defines layers, parts, heads and whether biases are merged.
        sources: The tensors in the source's place, by target layer and part; see `Merger.sources`.
        lambdas: Created from the same plan.
        dtype: The dtype in which the source is kept.
    """
    method = plan.options.method.name
    for (layer, part), (weight, bias) in sources.items():
        linear = blocks[layer].projection(part)
        names = lambdas.names_of(layer, part)
        rows = _rows(plan, lambdas, part, weight.shape)
        column = None if rows is None else (rows[None, :] if part == "o" else rows[:, None])
        mixed = MixedTensor(weight, lambdas, names, column, dtype, method).to(linear.weight.device)
        parametrize.register_parametrization(linear, "weight", mixed, unsafe=True)
        if plan.options.bias and linear.bias is not None and not (part == "o" and rows is not None):
            source_bias = torch.zeros_like(linear.bias) if bias is None else bias
            mixed = MixedTensor(source_bias, lambdas, names, rows, dtype, method).to(linear.weight.device)
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
