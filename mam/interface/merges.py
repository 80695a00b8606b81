"""Merging models in memory: the target's attention is mixed with the source's, and can be restored exactly."""

from __future__ import annotations

import copy as copying
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar, overload

from torch import nn
from transformers import PreTrainedModel

from mam.config.compose import jobs
from mam.errors import ConfigError, MergeError, choices
from mam.interface.isolation import isolated
from mam.interface.sides import MERGED, Given, Named, is_merged, mergers_of, several, sides_of
from mam.interface.words import words_from
from mam.merging.options import FILE_OPTION_NAMES, MergeOptions, merge_options
from mam.models.live import LiveModel

Model = TypeVar("Model", bound=nn.Module)
# The options are checked apart from the shapes of the demo's pair, which stand in the default configuration.
WITHOUT_SHAPES = [
    f"model.{side}_shape.{key}=null" for side in ("target", "source") for key in ("layers", "width", "heads")
]


@overload
def merge(
    target: Named,
    source: Given | Sequence[Given],
    lam: float | Sequence[float] = ...,
    *,
    copy: bool = ...,
    seed: int = ...,
    base: Given | None = ...,
    **options: Any,
) -> PreTrainedModel: ...


@overload
def merge(
    target: Model,
    source: Given | Sequence[Given],
    lam: float | Sequence[float] = ...,
    *,
    copy: bool = ...,
    seed: int = ...,
    base: Given | None = ...,
    **options: Any,
) -> Model: ...


def merge(
    target: Given,
    source: Given | Sequence[Given],
    lam: float | Sequence[float] = 0.05,
    *,
    copy: bool = False,
    seed: int = 0,
    base: Given | None = None,
    **options: Any,
) -> nn.Module:
    """Merge the attention of ``source`` into ``target``: W = (1-λ) W_target + λ W_source for Q, K and V of each layer.

    The merge is computed in float32 and stored in the target's dtype, on its device. Only the merged projections
    change.

    Args:
        target: A transformers model (or any module with one stack of layers that have Q, K and V), or a hub id or
            folder, which is loaded in float32.
        source: The same; from a hub id or folder only the attention is read. Several sources in a list are merged
            together: W = (1-Σλ_i) W_target + Σ λ_i W_i.
        lam: λ, the share of the source, from 0 (target unchanged) to 1 (attention replaced). For several sources a list
            with one λ each, or their sum, which is divided equally or according to the option ``shares``.
        copy: Whether to leave the target unchanged and return a merged copy.
        seed: The seed of random controls and methods.
        base: The model that target and source were fine-tuned from, for ``method="task_arithmetic"``, ``"ties"`` and
            ``"dare"``; given like ``source``.
        **options: Further options of the merge, named as in `mam.run`: ``layers="top6"``,
            ``where="decoder"``, ``parts="qkv"``, ``method="slerp"``, ``schedule={"name": "power", "beta": 2}``,
            ``pairing="proportional"``, ``on_mismatch="project"``, ``align="procrustes"``, ``control="shrink"``,
            ``plugins=["./mine.py"]``.

    Returns:
        The merged model: ``target`` itself, or its copy.

    Raises:
        ConfigError: An option is unknown or invalid.
        MergeError: The models cannot be merged, are quantised or parametrised, or the target is merged already.
        CheckpointError: An id or folder cannot be read.
    """
    with isolated():
        choice = options_from(lam, options, base is not None, len(several(source)))
        sides = sides_of(target, source, base)
        plan = sides.plan(choice, seed)
        model = sides.target.model
        if copy:
            model = copying.deepcopy(model)
            sides = replace(sides, target=LiveModel(model, "target"))
        merger = sides.merger()
        merger.apply(plan)
    MERGED.update({block.owner: merger for block in sides.target.blocks})
    return model if copy or not isinstance(target, nn.Module) else target


def unmerge(model: Model) -> Model:
    """Restore exactly the attention that a model had before `merge`.

    Args:
        model: A model that `merge` returned.

    Returns:
        The same model.

    Raises:
        MergeError: The model was not merged by `merge`, or was restored already.
    """
    mergers = mergers_of(model) if isinstance(model, nn.Module) else []
    if not mergers:
        raise MergeError(f"{type(model).__name__}: was not merged by mam.merge, so there is nothing to restore.")
    for merger in mergers:
        merger.restore()
        for owner in [owner for owner, other in MERGED.items() if other is merger]:
            del MERGED[owner]
    return model


@contextmanager
def merged(
    target: Model,
    source: Given | Sequence[Given],
    lam: float | Sequence[float] = 0.05,
    *,
    seed: int = 0,
    **options: Any,
) -> Iterator[Model]:
    """Merge ``target`` for the duration of a ``with`` block, and restore it afterwards, even after an error.

    Args:
        target: A model in memory.
        source: As in `merge`.
        lam: As in `merge`.
        seed: As in `merge`.
        **options: As in `merge`.

    Yields:
        The merged target itself.

    Raises:
        MamError: As in `merge`.
    """
    merge(target, source, lam, seed=seed, **options)
    try:
        yield target
    finally:
        if is_merged(target):  # the block may have restored it
            unmerge(target)


def options_from(
    lam: float | Sequence[float], options: dict[str, Any], has_base: bool = False, sources: int = 1
) -> MergeOptions:
    """Return the options of a merge of so many sources, checked as those of a run; raises ConfigError."""
    keys = {key.partition(".")[0] for key in options}
    known = {*FILE_OPTION_NAMES, "plugins"}
    unknown = sorted(keys - known)
    if unknown:
        raise ConfigError(f"{choices(unknown)}: not an option of a merge. Choose from: {choices(list(known))}")
    base = ["model.base=given"] if has_base else []
    is_listed = sources > 1 or not isinstance(lam, int | float)
    names = [f"model.sources=[{','.join(f'source_{n}' for n in range(1, sources + 1))}]"] if is_listed else []
    (job,) = jobs([*words_from(names, {"lam": lam, **options}), *WITHOUT_SHAPES, *base]).jobs
    return merge_options(job.config)
