"""Readings of a target in its current state, one item per example, in the order of the corpus."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch

from mam import processes
from mam.config.schema import Config
from mam.data.audio import RATE
from mam.data.batching import pack
from mam.evaluation.prefix import Prefix
from mam.memory import is_shortage
from mam.models.hidden import Hidden
from mam.models.targets import Target

Advance = Callable[[int, float], None]
Read = Callable[[Sequence[int], Hidden], Sequence[Any]]
log = logging.getLogger("mam")


def packs_of(
    target: Target, samples: Sequence[int], batch_seconds: float | None, clips: Sequence[int] | None = None
) -> list[tuple[int, ...]]:
    """Return packs of these ``clips``, or of all, by padded seconds.

    Clips that the target must process alone come last, one by one.

    Args:
        target: decides on padding and on clips to process alone.
        samples: length of every clip.
        batch_seconds: padded seconds per pack; None for the default of the target on its device.
        clips: positions of the clips to pack.
    """
    clips = range(len(samples)) if clips is None else clips
    alone = [i for i in clips if target.alone(samples[i])]
    together = [i for i in clips if not target.alone(samples[i])]
    budget = batch_seconds or target.pack_seconds[target.device.type]
    packed = pack([target.padded(samples[i]) / RATE for i in together], budget)
    return [*(tuple(together[i] for i in members) for members in packed), *((i,) for i in alone)]


@torch.inference_mode()
def predict(
    target: Target,
    prefix: Prefix,
    packs: Sequence[Sequence[int]],
    samples: Sequence[int],
    first: int,
    advance: Advance = lambda clips, seconds: None,
    read: Read | None = None,
    say: Callable[[str], None] = log.warning,
) -> list[Any]:
    """Return the target's readings for every clip of the packs: raw texts, or vectors of features or scores, fp32.

    They are in the order of the corpus. Several processes share the packs, and each gets all items. A pack for which
    memory is short is computed in halves, now and for as long as ``prefix`` lives.

    Args:
        target: merged or not; its layers below ``first`` must be unmerged.
        prefix: provides the states at the input of layer ``first``.
        packs: from `packs_of`; no example occurs twice.
        samples: length of every example.
        first: the first layer whose weights depend on λ.
        advance: called after each pack with the numbers of clips and seconds done, for a progress bar.
        read: (clips, last layer's output) -> one item per clip, in place of the target's readout.
        say: called with a sentence when a pack is halved.

    Raises:
        Exception: for which `is_shortage` is true: a single clip needs too much memory.
    """
    items: dict[int, Any] = {}
    wanted = sorted(i for members in packs for i in members)

    ahead: dict[tuple[int, ...], Hidden] = {}  # the next pack

    def read_off(members: tuple[int, ...]) -> Sequence[Any]:
        before = ahead.pop(members) if members in ahead else prefix.hidden(members, first)
        following = waiting[0] if waiting else ()
        if following:
            prefix.expect(following, first)
        hidden = target.advance(target.bucketed(before), first, target.depth)
        if following and following not in prefix.too_large and target.device.type == "cuda":
            # Prepare on the CPU while the GPU computes; reading first would block. A pack that does not fit waits.
            with suppress(torch.OutOfMemoryError):
                ahead[following] = prefix.hidden(following, first)
        return read(members, hidden) if read else _read(target, hidden)

    waiting = deque(map(tuple, packs[processes.rank() :: processes.count()]))
    while waiting:
        members = waiting.popleft()
        if members not in prefix.too_large:
            try:
                items |= dict(zip(members, read_off(members), strict=True))
            except Exception as error:  # memory runs out in errors of many classes
                if len(members) == 1 or not is_shortage(error):
                    raise
                short = (
                    f"{target.device} does not have enough memory for {len(members)} clips at a time; the batch is"
                    " halved"
                )
                log.warning("%s", short)
                say(short)
                prefix.too_large.add(members)
        if members in prefix.too_large:
            half = len(members) // 2
            waiting.extendleft((members[half:], members[:half]))
            continue
        advance(len(members), sum(samples[i] for i in members) / RATE)
    for others in processes.gathered(items):
        items |= others
    return [items[i] for i in wanted]


def _read(target: Target, hidden: Hidden) -> Sequence[Any]:
    if target.readout == "text":
        return target.transcribe(hidden)
    vectors = target.pooled(hidden) if target.readout == "features" else target.scores(hidden)
    return list(vectors.cpu().numpy())


def remedy_of(config: Config, target: Target) -> str:
    """Return what to change if memory runs out while a target is evaluated."""
    seconds = config.evaluate.batch_seconds or target.pack_seconds[target.device.type]
    return (
        f"Lower evaluate.batch_seconds={seconds:g} or evaluate.memory_gb, set dtype=bfloat16, or cut long recordings."
    )
