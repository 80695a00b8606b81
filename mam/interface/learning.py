"""λ as parameters of a model in memory, for your own training loop (L-MAM)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mam.errors import ConfigError, MergeError, choices
from mam.interface.isolation import isolated
from mam.interface.merges import options_from
from mam.interface.sides import Given, several, sides_of
from mam.merging.lambdas import Lambdas
from mam.merging.learnable import fold, learn, unlearn
from mam.merging.tables import CONSTRAINTS, METHODS, PER
from mam.models.blocks import AttentionBlock
from mam.models.live import unwrapped

NAME = "mam_lambdas"  # of the submodule that holds λ


class Handle:
    """The learnable λ of one model, as returned by `learnable`.

    λ is a parameter of the model's submodule ``mam_lambdas``. An optimizer over ``model.parameters()`` therefore trains
    it, and the model's checkpoints contain it. Give it its own parameter group, with a larger learning rate and no
    weight decay: see `parameters`.
    """

    def __init__(self, model: nn.Module, blocks: list[AttentionBlock], lambdas: Lambdas) -> None:
        self._model, self._blocks, self._lambdas = model, blocks, lambdas
        self._is_open = True
        # An optimizer step may leave the range of the constraint; λ is put back before it is used.
        self._hook = model.register_forward_pre_hook(lambda *_: lambdas.project())

    def parameters(self) -> list[nn.Parameter]:
        """Return the parameters from which λ is computed: one vector, with one entry per λ."""
        return list(self._lambdas.parameters())

    def others(self) -> list[nn.Parameter]:
        """Return the model's other parameters, for another parameter group."""
        own = {id(parameter) for parameter in self.parameters()}
        return [parameter for parameter in self._model.parameters() if id(parameter) not in own]

    def lambdas(self) -> dict[str, float]:
        """Return every λ by name: ``all``, ``3`` (layer), ``3.q`` (layer and projection) or ``3.q.0`` (and head).

        With several sources a name begins with the number of the source, from 1: ``2:3.q``.
        """
        self._lambdas.project()
        return self._lambdas.as_dict()

    def pull(self) -> Tensor:
        """Return Σ (λ - initial λ)², a penalty to add to the loss, as a scalar tensor."""
        return self._lambdas.pull()

    def fold(self) -> nn.Module:
        """Write the merged weights into the model, remove λ and the source, and return the plain model.

        Raises:
            MergeError: It is folded or removed already.
        """
        return self._close(keeps=True)

    def remove(self) -> nn.Module:
        """Remove λ and the source, and return the model with its own weights as trained so far.

        Raises:
            MergeError: It is folded or removed already.
        """
        return self._close(keeps=False)

    def _close(self, keeps: bool) -> nn.Module:
        if not self._is_open:
            raise MergeError("this handle is closed: fold() or remove() was called already.")
        self._lambdas.project()
        with torch.no_grad():
            (fold if keeps else unlearn)(self._blocks)
        delattr(self._model, NAME)
        self._hook.remove()
        self._is_open = False
        return self._model


def learnable(
    target: nn.Module,
    source: Given | Sequence[Given],
    lam: float | Sequence[float] = 0.05,
    *,
    per: str = "layer",
    constraint: str = "clamp",
    seed: int = 0,
    **options: Any,
) -> Handle:
    """Make λ a parameter of ``target``: in every forward pass W = (1-λ) W_target + λ W_source, as in ``train=lmam``.

    The source is frozen. The target's weights are trained if their ``requires_grad`` is true. The model can be trained
    by any loop: plain torch, transformers' Trainer, Lightning.

    Args:
        target: A transformers model, or any module with one stack of layers that have Q, K and V.
        source: The same, or a hub id or folder, from which only the attention is read. With a list of several sources,
            each has its own λ: W = (1-Σλ_i) W_target + Σ λ_i W_i.
        lam: The initial λ; for several sources a list, or their sum.
        per: What has its own λ: ``global`` (all share one), ``layer``, ``part`` (Q, K or V of a layer) or ``head``.
        constraint: The range of λ: ``clamp`` and ``sigmoid`` (0 to 1), ``tanh`` (-1 to 1) or ``none``. With ``clamp``,
            λ is set back to its range at the start of each forward pass of ``target``.
        seed: The seed of random controls.
        **options: As in `mam.merge`; ``method`` must be ``linear`` or ``reparam``, W_target + λ W_source.

    Returns:
        The handle for λ.

    Raises:
        ConfigError: An option is unknown or invalid.
        MergeError: As in `mam.merge`, or λ cannot start at ``lam`` under this constraint.
    """
    for key, value, known in (("per", per, PER), ("constraint", constraint, CONSTRAINTS)):
        if value not in known:
            raise ConfigError(f"{key}={value}: not known. Choose one of: {choices(known)}")
    with isolated():
        model, choice = unwrapped(target), options_from(lam, options, sources=len(several(source)))
        if not METHODS[choice.method.name].is_learnable:
            learnt = choices([name for name, traits in METHODS.items() if traits.is_learnable])
            raise ConfigError(f"method={choice.method.name}: its λ cannot be learnt. Choose one of: {learnt}")
        if hasattr(model, NAME):
            raise MergeError(
                f"target {type(model).__name__}: its λ is already learnable. Call fold() or remove() of the handle"
                " first."
            )
        sides = sides_of(model, source)
        plan = sides.plan(choice, seed)
        blocks = sides.target.blocks
        first = blocks[plan.layers[0]].q.weight
        lambdas = Lambdas(plan, per, constraint).to(first.device)
        sources = sides.merger().sources(plan)
        learn(blocks, plan, sources, lambdas, first.dtype)
    model.add_module(NAME, lambdas)
    return Handle(model, blocks, lambdas)
