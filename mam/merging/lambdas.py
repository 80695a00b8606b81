"""λ as a vector of parameters: their names, their sharing and the range that each constraint keeps them in."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mam.errors import MergeError
from mam.merging.plan import MergePlan
from mam.merging.tables import CONSTRAINTS

ROUNDING = 1e-9  # of a sum of λ


@dataclass(frozen=True)
class Constraint:
    """The map from parameters θ to λ = ``lam(θ)``, both of shape ``[n]``, or ``[n, sources]`` for several sources.

    ``raw`` is its inverse, defined for ``least`` < λ < ``most`` and, if ``is_closed``, at the ends. ``project`` takes
    θ back into these bounds after every step. With bounds of 0 and 1, so is the sum of the λ of several sources.
    """

    lam: Callable[[Tensor], Tensor]
    raw: Callable[[Tensor], Tensor]
    least: float
    most: float
    is_closed: bool = True
    project: Callable[[Tensor], Tensor] | None = None

    def holds(self, lams: Sequence[float]) -> bool:
        """Return whether the λ of all sources at one place are within the bounds."""
        bounded = [*lams, sum(lams)] if self.least == 0 else lams
        if self.is_closed:
            return all(self.least - ROUNDING <= lam <= self.most + ROUNDING for lam in bounded)
        return all(self.least < lam < self.most for lam in bounded)


def _softmax(raw: Tensor) -> Tensor:
    """Return e^θ_i / (1 + Σ e^θ_j), the sigmoid for one source: the softmax of all sources and a target with θ = 0."""
    if raw.ndim == 1:
        return torch.sigmoid(raw)
    return torch.cat([raw, raw.new_zeros(len(raw), 1)], -1).softmax(-1)[:, :-1]


def _log_odds(lam: Tensor) -> Tensor:
    """Return the inverse of `_softmax`."""
    return torch.log(lam / (1 - (lam if lam.ndim == 1 else lam.sum(-1, keepdim=True))))


def _nearest(raw: Tensor) -> Tensor:
    """Return the nearest point with λ ≥ 0 and Σλ ≤ 1.

    Duchi et al., "Efficient projections onto the l1-ball for learning in high dimensions", ICML 2008, figure 1.
    """
    if raw.ndim == 1:
        return raw.clamp(0.0, 1.0)
    inside = raw.clamp(min=0.0)
    ordered = raw.sort(-1, descending=True).values
    excess = (ordered.cumsum(-1) - 1) / torch.arange(1, raw.shape[-1] + 1, device=raw.device)
    last = (ordered > excess).sum(-1, keepdim=True) - 1
    on_edge = (raw - excess.gather(-1, last)).clamp(min=0.0)
    return torch.where(inside.sum(-1, keepdim=True) > 1, on_edge, inside)


def _same(values: Tensor) -> Tensor:
    return values


RULES: dict[str, Constraint] = {  # by the names in CONSTRAINTS
    "none": Constraint(_same, _same, -math.inf, math.inf),
    "clamp": Constraint(_same, _same, 0.0, 1.0, project=_nearest),
    "sigmoid": Constraint(_softmax, _log_odds, 0.0, 1.0, is_closed=False),
    "tanh": Constraint(torch.tanh, torch.atanh, -1.0, 1.0, is_closed=False),
}
assert set(RULES) == set(CONSTRAINTS)


class Lambdas(nn.Module):
    """All λ of a model as one parameter vector ``raw``, shared ``per`` model, layer, projection or head.

    ``names`` has one name per λ: ``all``, ``3`` (layer), ``3.q`` (layer, part) or ``3.q.0`` (layer, part, head). With
    several sources it begins with the number of the source, as in ``2:3.q``.
    """

    def __init__(self, plan: MergePlan, per: str = "layer", constraint: str = "clamp") -> None:
        """Create the parameters from the initial λ of each layer in ``plan``.

        Raises:
            MergeError: An initial λ is outside the constraint, or a shared λ has several initial values.
        """
        super().__init__()
        self.per, self.constraint, self.sources = per, constraint, len(plan.each)
        self.chosen = list(range(plan.target.heads)) if plan.heads is None else list(plan.heads)
        initial: dict[str, float] = {}
        for layer in plan.layers:
            for part in plan.parts_at(layer):
                for name in self._names(layer, part):
                    for number, one in enumerate(plan.each):
                        own = self._of_source(name, number)
                        if initial.setdefault(own, one.lams[layer]) != one.lams[layer]:
                            raise MergeError(
                                "train.lam.per=global: the schedule gives more than one initial λ. Set"
                                " schedule=constant."
                            )
        rule, self.names = RULES[constraint], list(initial)
        lams = torch.tensor(list(initial.values()), dtype=torch.float64)
        for row in lams.view(-1, self.sources).tolist():
            if not rule.holds(row):
                together = " (all sources together)" if self.sources > 1 else ""
                bounds = f"between {rule.least:g} and {rule.most:g}{'' if rule.is_closed else ', exclusive'}{together}"
                raise MergeError(
                    f"lam={sum(row):g}: must be {bounds} with train.lam.constraint={constraint}".replace("-", "−")
                )
        self.initial = lams.float()
        self.raw = nn.Parameter(rule.raw(self._by_place(lams)).flatten().float())

    def names_of(self, layer: int, part: str, source: int = 0) -> list[str]:
        """Return the names of the λ of one projection for one source: one name, or one per merged head."""
        return [self._of_source(name, source) for name in self._names(layer, part)]

    def _names(self, layer: int, part: str) -> list[str]:
        if self.per == "head":
            return [f"{layer}.{part}.{head}" for head in self.chosen]
        names = {"global": "all", "layer": f"{layer}", "part": f"{layer}.{part}"}
        return [names[self.per]]

    def _of_source(self, name: str, source: int) -> str:
        return name if self.sources == 1 else f"{source + 1}:{name}"

    def _by_place(self, values: Tensor) -> Tensor:
        """Return a value of each λ as constraints take them: with the sources as columns, if there are several."""
        return values if self.sources == 1 else values.view(-1, self.sources)

    @property
    def values(self) -> Tensor:
        """Every λ, in the order of ``names``."""
        lam = RULES[self.constraint].lam
        return lam(self.raw) if self.sources == 1 else lam(self._by_place(self.raw)).flatten()

    def of(self, names: Sequence[str]) -> Tensor:
        """Return the λ with these names."""
        return self.values[[self.names.index(name) for name in names]]

    def as_dict(self) -> dict[str, float]:
        """Return every λ by name."""
        return dict(zip(self.names, self.values.detach().tolist(), strict=True))

    def by_source(self, plan: MergePlan) -> tuple[float, ...]:
        """Return the mean λ of each layer, of several sources for each in turn; 0 for layers that are not merged."""
        named = self.as_dict()

        def mean(layer: int, source: int) -> float:
            names = [name for part in plan.parts_at(layer) for name in self.names_of(layer, part, source)]
            return sum(named[name] for name in names) / len(names) if layer in plan.pairs else 0.0

        return tuple(mean(layer, source) for source in range(self.sources) for layer in range(len(plan.lams)))

    @torch.no_grad()
    def project(self) -> None:
        """Take λ back into its bounds, if the constraint requires it after a step."""
        rule = RULES[self.constraint]
        if rule.project is not None:
            self.raw.copy_(rule.project(self._by_place(self.raw)).flatten())

    def pull(self) -> Tensor:
        """Return Σ (λ - initial λ)²."""
        return (self.values - self.initial.to(self.raw.device)).square().sum()
