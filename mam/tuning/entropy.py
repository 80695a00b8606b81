"""Choosing λ without labels: minimise the entropy of the target's predictions by gradient descent.

AdaMerging (Yang et al., "AdaMerging: adaptive model merging for multi-task learning", ICLR 2024) learns a λ for every
layer that minimises the Shannon entropy of the predictions on unlabelled data. The difference here is where a
recogniser's entropy is taken, see `Target.doubts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from mam.config.schema import Config
from mam.errors import DataError
from mam.evaluation.predict import packs_of, remedy_of
from mam.evaluation.workbench import Workbench
from mam.evaluation.zero_shot import plan_for
from mam.memory import explained
from mam.merging.lambdas import Lambdas
from mam.merging.learnable import learn, unlearn
from mam.models.hidden import Hidden
from mam.models.targets import Target

COLLAPSED = 0.1  # largest share of the unmerged target's decisions that an eligible λ may turn into silence


@dataclass(frozen=True)
class EntropyLook:
    """λ, mean entropy per decision in nats, and the share of decisions that became silence.

    ``lams`` has λ of every target layer, of several sources for each in turn.
    """

    lams: tuple[float, ...]
    entropy: float
    silenced: float


def best_look(looks: Sequence[EntropyLook]) -> EntropyLook:
    """Return the look with the least entropy among λ=0, which comes first, and those that silence little.

    Ties go to the smallest λ.
    """
    eligible = [looks[0], *(look for look in looks[1:] if look.silenced <= COLLAPSED)]
    return min(eligible, key=lambda look: (look.entropy, sum(look.lams), look.lams))


def least_entropy(config: Config, bench: Workbench, heard: Config) -> list[EntropyLook]:
    """Minimise the entropy over λ and return the looks: at λ=0, at the start, and after every pass over the recordings.

    A pass takes one step of Adam per pack. The search ends early if more than `COLLAPSED` is silenced. For a random
    control, λ is learnt with the first draw. The target is unmerged at the end.

    Args:
        config: the merge and the settings of the search.
        bench: holds the pair.
        heard: the same configuration with the recordings to use; their labels are not read.

    Raises:
        DataError: no such recordings, or none short enough for the target to take at once.
    """
    pair, audio, tune = bench.pair(config), bench.audio(heard), config.tune
    target, plan = pair.target, plan_for(config, pair, tune.start)
    pair.merger.restore()
    prefix = bench.prefix(heard)

    def states(pack: Sequence[int]) -> Hidden:
        with torch.no_grad():
            hidden = prefix.hidden(pack, plan.first)
        # Inference tensors cannot enter autograd; their clones can.
        return Hidden(hidden.states.clone(), hidden.lengths.clone(), hidden.whole)

    packs = [pack for pack in packs_of(target, audio.samples, config.evaluate.batch_seconds) if not states(pack).whole]
    if not packs:
        raise DataError("tune=entropy: all recordings are too long to be processed at once. Cut them, or set tune=grid")
    with torch.no_grad():
        anchors = [target.anchors(target.advance(states(pack), plan.first, target.depth)) for pack in packs]

    def doubts(n: int) -> tuple[Tensor, Tensor]:
        return target.doubts(target.advance(states(packs[n]), plan.first, target.depth), anchors[n])

    def look(lams: tuple[float, ...]) -> EntropyLook:
        with torch.no_grad():
            pack_doubts = [doubts(n) for n in range(len(packs))]
        entropy = float(torch.cat([entropies for entropies, _ in pack_doubts]).mean())
        silenced = float(torch.cat([silences for _, silences in pack_doubts]).mean())
        return EntropyLook(lams, entropy, silenced)

    looks = [look((0.0,) * len(plan.lams_by_source))]
    joint = replace(plan, further=(), by_source=())  # of several sources one λ for the sum, by their shares
    lambdas = Lambdas(joint)
    learnable = _freeze(target)
    try:
        learn(target.all_blocks, joint, pair.merger.joint_source(plan), lambdas, target.dtype)
        lambdas.to(target.device)
        looks.append(look(plan.lams_by_source))
        optimizer = torch.optim.Adam([lambdas.raw], lr=tune.learning_rate)
        steps = tune.epochs * len(packs)
        with explained(remedy_of(config, target)), bench.terminal.progress("least entropy", steps, "steps") as advance:
            for _ in range(tune.epochs):
                for n in range(len(packs)):
                    optimizer.zero_grad()
                    doubts(n)[0].mean().backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                    with torch.no_grad():
                        lambdas.raw.clamp_(tune.low, tune.high)
                    advance(1, 0.0)
                named = lambdas.as_dict()
                looks.append(look(plan.shared([named.get(str(layer), 0.0) for layer in range(len(plan.lams))])))
                if looks[-1].silenced > COLLAPSED:
                    break
    finally:
        for parameter in learnable:
            parameter.requires_grad_(True)
        unlearn(target.all_blocks)
    return looks


def _freeze(target: Target) -> list[Any]:
    """Freeze every parameter of the target and return those that were trainable."""
    learnable = [parameter for parameter in target.model.parameters() if parameter.requires_grad]
    for parameter in learnable:
        parameter.requires_grad_(False)
    return learnable
