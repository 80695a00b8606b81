"""λ without labels: the merge under which the target decides with the least doubt, by the gradient of its entropy.

AdaMerging (Yang et al., "AdaMerging: adaptive model merging for multi-task learning", ICLR 2024): a λ for every layer
that minimises the Shannon entropy of the predictions on unlabelled data. What differs here is where a recogniser's
entropy is taken, see `Target.doubts`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from mam.config.schema import Config
from mam.errors import DataError
from mam.evaluation.predict import out_of_memory, packs_of
from mam.evaluation.workbench import Workbench
from mam.evaluation.zero_shot import plan_for
from mam.merge.learnable import Lambdas, learn, unlearn
from mam.models.targets import Hidden, Target

COLLAPSED = 0.1  # share of what the unmerged target hears that a λ may silence, and still be chosen


@dataclass(frozen=True)
class EntropyLook:
    """λ of every target layer, mean entropy of a decision in nats, share of decisions that are silence now."""

    lams: tuple[float, ...]
    entropy: float
    silenced: float


def best_look(looks: Sequence[EntropyLook]) -> EntropyLook:
    """The least entropy among λ=0, the first, and those that silence little; of equal ones the smallest λ."""
    eligible = [looks[0], *(one for one in looks[1:] if one.silenced <= COLLAPSED)]
    return min(eligible, key=lambda one: (one.entropy, sum(one.lams), one.lams))


def least_entropy(config: Config, bench: Workbench, heard: Config) -> list[EntropyLook]:
    """What was seen on the way: λ=0 first, then the start, then after every pass over the recordings.

    A pass takes one step of Adam a pack. The search ends early where more than `COLLAPSED` is silenced. Of a random
    control λ is learnt with the first draw. The target is unmerged at the end.

    Args:
        config: the merge and the settings of the search.
        bench: has the pair.
        heard: the same with the recordings that are listened to; labels are not read.

    Raises:
        DataError: no such recordings, or none that the target hears at once.
    """
    pair, audio, tune = bench.pair(config), bench.audio(heard), config.tune
    target, plan = pair.target, plan_for(config, pair, tune.start)
    pair.merger.restore()
    prefix = bench.prefix(heard)

    def states(pack: Sequence[int]) -> Hidden:
        with torch.no_grad():
            hidden = prefix.hidden(pack, plan.first)
        # Made without a gradient, they may not be used with one as they are.
        return Hidden(hidden.states.clone(), hidden.lengths.clone(), hidden.whole)

    packs = [pack for pack in packs_of(target, audio.samples, config.evaluate.batch_seconds) if not states(pack).whole]
    if not packs:
        raise DataError("tune=entropy: no recording is short enough to be heard at once. Cut them, or say tune=grid")
    with torch.no_grad():
        anchors = [target.anchors(target.advance(states(pack), plan.first, target.depth)) for pack in packs]

    def doubts(n: int) -> tuple[Tensor, Tensor]:
        return target.doubts(target.advance(states(packs[n]), plan.first, target.depth), anchors[n])

    def look(lams: tuple[float, ...]) -> EntropyLook:
        with torch.no_grad():
            both = [doubts(n) for n in range(len(packs))]
        entropy, silenced = (float(torch.cat([one[i] for one in both]).mean()) for i in (0, 1))
        return EntropyLook(lams, entropy, silenced)

    looks = [look((0.0,) * target.depth)]
    lambdas = Lambdas(plan)
    learnable = _freeze(target)
    try:
        learn(target.blocks, plan, pair.merger.sources(plan), lambdas, target.dtype)
        lambdas.to(target.device)
        looks.append(look(plan.lams))
        optimizer = torch.optim.Adam([lambdas.raw], lr=tune.learning_rate)
        with bench.terminal.progress("least entropy", tune.epochs * len(packs)) as advance:
            for _ in range(tune.epochs):
                for n in range(len(packs)):
                    optimizer.zero_grad()
                    doubts(n)[0].mean().backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                    with torch.no_grad():
                        lambdas.raw.clamp_(tune.low, tune.high)
                    advance(1, 0.0)
                named = lambdas.as_dict()
                looks.append(look(tuple(named.get(str(layer), 0.0) for layer in range(target.depth))))
                if looks[-1].silenced > COLLAPSED:
                    break
    except torch.OutOfMemoryError as error:
        raise out_of_memory(config, target) from error
    finally:
        for parameter in learnable:
            parameter.requires_grad_(True)
        unlearn(target.blocks)
    return looks


def _freeze(target: Target) -> list[Any]:
    """Leave λ alone to learn; returns what learnt before."""
    learnable = [parameter for parameter in target.model.parameters() if parameter.requires_grad]
    for parameter in learnable:
        parameter.requires_grad_(False)
    return learnable
