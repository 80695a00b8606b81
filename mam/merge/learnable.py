"""λ as a parameter (L-MAM): the effective weight is recomputed from target, source and λ in every forward pass.

W = (1-λ) W_t + λ W_s, with W_t trained or not, W_s frozen, and λ shared as `Lambdas.per` says (Sundar et al.,
arXiv 2312.14378, Learnable-MAM; the sharing, the constraints and the initial values are ours).
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
from mam.merge.merger import Block
from mam.merge.methods import Projection
from mam.merge.plan import MergePlan
from mam.merge.tables import CONSTRAINTS


@dataclass(frozen=True)
class Constraint:
    """λ = ``lam(θ)`` for the parameter θ; ``raw`` is its inverse, defined where ``least`` < λ < ``most`` (or at them).

    ``is_closed`` says whether the ends are reached; ``projects`` that θ is put back between them after every step.
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

    ``names`` has one name a λ: ``all``, ``3`` (layer), ``3.q`` (layer, part) or ``3.q.0`` (layer, part, head).
    """

    def __init__(self, plan: MergePlan, per: str = "layer", constraint: str = "clamp") -> None:
        """``plan`` gives the initial λ of each layer.

        Raises:
            MergeError: an initial λ that the constraint does not reach, or several for one shared λ.
        """
        super().__init__()
        self.per, self.constraint = per, constraint
        self.chosen = list(range(plan.target.heads)) if plan.heads is None else list(plan.heads)
        initial: dict[str, float] = {}
        for layer in plan.layers:
            for part in plan.parts:
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
        """The λ of one projection: one, or one a merged head."""
        if self.per == "head":
            return [f"{layer}.{part}.{head}" for head in self.chosen]
        return [{"global": "all", "layer": f"{layer}", "part": f"{layer}.{part}"}[self.per]]

    @property
    def values(self) -> Tensor:
        """Every λ, in the order of ``names``."""
        return RULES[self.constraint].lam(self.raw)

    def of(self, names: Sequence[str]) -> Tensor:
        """The λ of these names."""
        return self.values[[self.names.index(name) for name in names]]

    def as_dict(self) -> dict[str, float]:
        """Every λ by name."""
        return dict(zip(self.names, self.values.detach().tolist(), strict=True))

    @torch.no_grad()
    def project(self) -> None:
        """Put λ back between its bounds, where the constraint does that after a step."""
        rule = RULES[self.constraint]
        if rule.projects:
            self.raw.clamp_(rule.least, rule.most)

    def pull(self) -> Tensor:
        """Σ (λ - initial λ)²."""
        return (self.values - self.initial.to(self.raw.device)).square().sum()


class Mix(torch.autograd.Function):
    """(1-λ) W_t + λ W_s of tensors of one shape, λ broadcast; keeps nothing but references for the way back."""

    @staticmethod
    def forward(ctx: Any, target: Tensor, source: Tensor, lam: Tensor) -> Tensor:  # noqa: D102
        ctx.save_for_backward(target, source, lam)
        return target.lerp(source.to(target.dtype), lam)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, Tensor | None]:
        """dW/dW_t = 1-λ; dW/dλ = W_s - W_t, summed over what shares λ."""
        target, source, lam = ctx.saved_tensors
        # A linear layer's gradient comes transposed; one copy is cheaper than walking across it three times.
        is_ours = not grad.is_contiguous()
        grad, of_target, of_lam = grad.contiguous(), None, None
        if ctx.needs_input_grad[2]:
            of_lam = (source.to(target.dtype) - target).mul_(grad).sum_to_size(lam.shape)
        if ctx.needs_input_grad[0]:
            of_target = grad.mul_(1 - lam) if is_ours else grad * (1 - lam)
        return of_target, None, of_lam


class MixedTensor(nn.Module):
    """The parametrization of one weight ``[out, in]`` or bias ``[out]``.

    ``source`` is kept in ``dtype`` and in no checkpoint. ``lambdas`` is referred to, not owned: it is registered once.
    """

    source: Tensor
    heads: Tensor | None

    def __init__(
        self, source: Tensor, lambdas: Lambdas, names: Sequence[str], heads: Tensor | None, dtype: torch.dtype
    ) -> None:
        """``heads``: for each row (of O: column) which of ``names`` its λ is, -1 for none; None where one λ is all."""
        super().__init__()
        self.register_buffer("source", source.to(dtype), persistent=False)
        self._lambdas, self._names = (lambdas,), list(names)
        self._places = [lambdas.names.index(name) for name in names]
        self.register_buffer("heads", heads, persistent=False)

    def forward(self, target: Tensor) -> Tensor:
        """The effective tensor."""
        every = self._lambdas[0].values
        if self.heads is None:
            lam = every[self._places[0]]  # by a list, a GPU would sort and scatter on the way back
        else:  # one more λ, 0, is for the heads that are not merged
            lam = torch.cat([every[self._places], every.new_zeros(1)])[self.heads]
        mixed: Tensor = Mix.apply(target, self.source, lam.to(target.dtype))  # type: ignore[no-untyped-call]
        return mixed


def learn(
    blocks: Sequence[Block],
    plan: MergePlan,
    sources: Mapping[tuple[int, str], Projection],
    lambdas: Lambdas,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Make the merge of ``plan`` a part of the model, with λ from ``lambdas``; `fold` undoes it.

    Args:
        blocks: of the target, unmerged.
        plan: layers, parts, heads and whether biases are merged.
        sources: what takes the source's place, by target layer and part, see `Merger.sources`.
        lambdas: made from the same plan.
        dtype: in which the source is kept.
    """
    for (layer, part), (weight, bias) in sources.items():
        linear, names = blocks[layer].projection(part), lambdas.names_of(layer, part)
        rows = _rows(plan, lambdas, part, weight.shape)
        column = None if rows is None else (rows[None, :] if part == "o" else rows[:, None])
        mixed = MixedTensor(weight, lambdas, names, column, dtype).to(linear.weight.device)
        parametrize.register_parametrization(linear, "weight", mixed, unsafe=True)
        if plan.options.bias and linear.bias is not None and not (part == "o" and rows is not None):
            given = torch.zeros_like(linear.bias) if bias is None else bias
            mixed = MixedTensor(given, lambdas, names, rows, dtype).to(linear.weight.device)
            parametrize.register_parametrization(linear, "bias", mixed, unsafe=True)


def fold(blocks: Sequence[Block]) -> None:
    """Write the effective tensors into the model and forget λ and source: what is left is a plain model."""
    _forget(blocks, keeps=True)


def unlearn(blocks: Sequence[Block]) -> None:
    """Forget λ and source; what is left is the target's own tensors."""
    _forget(blocks, keeps=False)


def _forget(blocks: Sequence[Block], keeps: bool) -> None:
    for block in blocks:
        for part in block.parts:
            linear = block.projection(part)
            for name in ("weight", "bias"):
                if parametrize.is_parametrized(linear, name):
                    parametrize.remove_parametrizations(linear, name, leave_parametrized=keeps)


def _rows(plan: MergePlan, lambdas: Lambdas, part: str, shape: torch.Size) -> Tensor | None:
    """For each row of Q, K, V (column of O): which of its λ it takes, -1 for none; None where one λ is all."""
    if plan.heads is None and lambdas.per != "head":
        return None
    rows = torch.full((shape[1 if part == "o" else 0],), -1)
    for place, head in enumerate(lambdas.chosen):
        rows[head * plan.target.head_width : (head + 1) * plan.target.head_width] = (
            place if lambdas.per == "head" else 0
        )
    return rows
