"""Warnings about a training: λ that do not move, still drift or end at a bound; slower progress than FT."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mam.config.schema import Config

UNMOVED = 1e-3  # a λ whose values span less than this counts as unmoved
AT_BOUND = 1e-3
DRIFT = 0.2  # largest share of a λ's range that it may cover in the last fifth of the training


def of_lambdas(
    course: Sequence[tuple[int, Mapping[str, float]]], config: Config, fold: str = "", best_step: int = 0
) -> list[str]:
    """Return sentences on the course of λ; none if λ is not learnt.

    Args:
        course: (step, λ by name) at each log.
        config: the configuration of the run.
        fold: name of the fold, put before each sentence.
        best_step: step of the checkpoint that is kept. Bounds are checked on its λ; 0 means the last step.
    """
    if len(course) < 2:
        return []
    where = f"{fold}: " if fold else ""
    last_step, last = course[-1]
    kept = dict(course).get(best_step or last_step, last)
    spans = {name: max(lams[name] for _, lams in course) - min(lams[name] for _, lams in course) for name in last}
    sentences = []
    unmoved = [name for name in last if spans[name] < UNMOVED]
    if unmoved:
        sentences.append(f"{where}{_listed(unmoved, last)} changed by less than {UNMOVED:g}")
    least, most = {"clamp": (0, 1), "sigmoid": (0, 1), "tanh": (-1, 1)}.get(config.train.lam.constraint, (None, None))
    if least is not None and most is not None:
        for end, side in ((least, "lower"), (most, "upper")):
            bound = [name for name, lam in kept.items() if abs(lam - end) < AT_BOUND]
            if bound:
                sentences.append(f"{where}{_listed(bound, last)} stopped at {end}, the {side} bound".replace("-", "−"))
    late = next((lams for step, lams in course if step >= 0.8 * last_step), last)
    drifting = [
        name
        for name, lam in last.items()
        if abs(lam - late[name]) > max(DRIFT * spans[name], UNMOVED) and name not in unmoved
    ]
    if drifting:
        sentences.append(f"{where}{_listed(drifting, last)} was still changing at the end: train longer")
    return sentences


def slower_than_ft(history: Sequence[Mapping[str, Any]], ft: Sequence[Mapping[str, Any]], fold: str = "") -> list[str]:
    """Return a sentence if the loss on dev reached FT's final one later than FT itself did, or never."""
    own, other = (_dev_losses(entries) for entries in (history, ft))
    if not own or not other:
        return []
    goal = other[-1][1]
    reached, needed = (next((step for step, loss in losses if loss <= goal), None) for losses in (own, other))
    where = f"{fold}: " if fold else ""
    if reached is None:
        return [f"{where}slower than FT: did not reach FT's final dev loss ({goal:.3f}) in {own[-1][0]} steps"]
    if needed is not None and reached > needed:
        return [
            f"{where}slower than FT: reached FT's final dev loss ({goal:.3f}) after {reached} steps instead of {needed}"
        ]
    return []


def _dev_losses(entries: Sequence[Mapping[str, Any]]) -> list[tuple[int, float]]:
    return [(int(entry["step"]), float(entry["eval_loss"])) for entry in entries if entry.get("eval_loss") is not None]


def _listed(names: Sequence[str], everything: Mapping[str, float]) -> str:
    """Return the λ with these names as the subject of a sentence, such as ``λ in layers 3, 5``."""
    if list(everything) == ["all"]:  # one λ for all layers
        return "λ"
    if len(names) == len(everything):
        return "λ in every layer"
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return f"λ in layer{'s' if len(names) > 1 else ''} {shown}"
