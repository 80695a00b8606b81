"""Merging models in memory: the target's attention is mixed with the source's, and can be restored bit for bit."""

from __future__ import annotations

import copy as copying
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from os import PathLike, fspath
from typing import Any, TypeVar, overload
from weakref import WeakKeyDictionary

import torch
import transformers
from torch import nn
from transformers import PreTrainedModel

from mam.config.compose import jobs
from mam.errors import CheckpointError, ConfigError, MergeError, choices, first_line
from mam.interface.isolation import isolated
from mam.interface.words import words_from
from mam.merging.adapted_source import Read, finite
from mam.merging.merger import Merger
from mam.merging.options import FILE_OPTION_NAMES, MergeOptions, merge_options
from mam.merging.plan import MergePlan, plan_merge
from mam.merging.shape import Shape
from mam.merging.tables import ALIGNMENTS, METHODS
from mam.models.live import LiveModel, unwrapped
from mam.models.locate import locate
from mam.models.refusals import refuse_unmergeable
from mam.models.sources import Source

Model = TypeVar("Model", bound=nn.Module)
Named = str | PathLike[str]
# By the attention modules that a merge changed, so that it is known by every model that they are part of.
_merged: WeakKeyDictionary[nn.Module, Merger] = WeakKeyDictionary()
# The options are checked apart from the shapes of the demo's pair, which stand in the default configuration.
WITHOUT_SHAPES = [
    f"model.{side}_shape.{key}=null" for side in ("target", "source") for key in ("layers", "width", "heads")
]


@dataclass(frozen=True)
class Sides:
    """A target in memory, and a source in memory or on disk, ready to be merged."""

    target: LiveModel
    source_shape: Shape
    read_source: Read

    def plan(self, options: MergeOptions, seed: int) -> MergePlan:
        """Return the plan of a merge; raises MergeError if the two do not fit."""
        plan = plan_merge(options, self.target.shape, self.source_shape, seed)
        _refuse_unfit(plan, self.target)
        for layer in plan.layers:
            for part in plan.parts:
                finite(self.target.read, "target", layer, part)  # also refuses what cannot be written
        return plan


@overload
def merge(
    target: Named, source: nn.Module | Named, lam: float = ..., *, copy: bool = ..., seed: int = ..., **options: Any
) -> PreTrainedModel: ...


@overload
def merge(
    target: Model, source: nn.Module | Named, lam: float = ..., *, copy: bool = ..., seed: int = ..., **options: Any
) -> Model: ...


def merge(
    target: nn.Module | Named,
    source: nn.Module | Named,
    lam: float = 0.05,
    *,
    copy: bool = False,
    seed: int = 0,
    **options: Any,
) -> nn.Module:
    """Merge the attention of ``source`` into ``target``: W = (1-λ) W_target + λ W_source for Q, K and V of each layer.

    The merge is computed in fp32 and stored in the target's dtype, on its device. Everything but the merged
    projections stays as it is.

    Args:
        target: A model of transformers (or any module with one stack of layers that have Q, K and V); or a hub id or
            folder, which is loaded in fp32.
        source: The same; of a hub id or folder only the attention is read.
        lam: λ, the share of the source, from 0 (target unchanged) to 1 (its attention replaced).
        copy: Whether the target stays as it is and a merged copy is returned.
        seed: The seed of random controls.
        **options: Keys of the configuration that say how two models are merged, as in `mam.run`: ``layers="top6"``,
            ``parts="qkv"``, ``method="slerp"``, ``schedule={"name": "power", "beta": 2}``, ``pairing="proportional"``,
            ``on_mismatch="project"``, ``align="procrustes"``, ``control="shrink"``, ``plugins=["./mine.py"]``.

    Returns:
        The merged model: ``target`` itself, or its copy.

    Raises:
        ConfigError: An option is unknown or invalid.
        MergeError: The models do not fit together, are quantised or parametrised, or the target is merged already.
        CheckpointError: An id or folder cannot be read.
    """
    with isolated():
        choice = options_from(lam, options)
        sides = sides_of(target, source)
        plan = sides.plan(choice, seed)
        model = sides.target.model
        if copy:
            model = copying.deepcopy(model)
            sides = Sides(LiveModel(model, "target"), sides.source_shape, sides.read_source)
        merger = Merger(sides.target.blocks, sides.read_source)
        merger.apply(plan)
    _merged.update({block.owner: merger for block in sides.target.blocks})
    return model if copy or not isinstance(target, nn.Module) else target


def unmerge(model: Model) -> Model:
    """Restore the attention that a model had before `merge`, bit for bit.

    Args:
        model: A model that `merge` returned.

    Returns:
        The same model.

    Raises:
        MergeError: The model was not merged by `merge`, or is restored already.
    """
    mergers = _mergers_of(model) if isinstance(model, nn.Module) else []
    if not mergers:
        raise MergeError(f"{type(model).__name__}: is not merged by mam.merge, so that there is nothing to restore.")
    for merger in mergers:
        merger.restore()
        for owner in [owner for owner, other in _merged.items() if other is merger]:
            del _merged[owner]
    return model


@contextmanager
def merged(
    target: Model, source: nn.Module | Named, lam: float = 0.05, *, seed: int = 0, **options: Any
) -> Iterator[Model]:
    """Merge ``target`` inside a ``with`` block, and restore it afterwards, also after an error.

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


def is_merged(model: nn.Module) -> bool:
    """Return whether `merge` has changed the model, and `unmerge` has not restored it."""
    return bool(_mergers_of(model))


def _mergers_of(model: nn.Module) -> list[Merger]:
    """Return the merges that changed modules of a model."""
    found = {id(_merged[module]): _merged[module] for module in model.modules() if module in _merged}
    return list(found.values())


def sides_of(target: nn.Module | Named, source: nn.Module | Named) -> Sides:
    """Return both sides of a merge; raises MamError for a side that is unusable, or a target that is merged already."""
    for side, model in (("target", target), ("source", source)):
        if not isinstance(model, nn.Module | str | PathLike):
            raise ConfigError(f"{side}: {type(model).__name__} is not a model. Give a module, a hub id or a folder")
    model = unwrapped(target) if isinstance(target, nn.Module) else _loaded(fspath(target))
    if is_merged(model):
        raise MergeError(
            f"target {type(model).__name__}: is merged already. Say mam.unmerge(model) first, or merge with copy=True"
            " from the unmerged one."
        )
    live = LiveModel(model, "target")
    if isinstance(source, nn.Module):
        other = LiveModel(unwrapped(source), "source")
        shares = not {id(module) for module in model.modules()}.isdisjoint(map(id, source.modules()))
        return Sides(live, other.shape, _as_it_is(other) if shares else other.read)
    file = Source(locate(fspath(source)))
    return Sides(live, file.shape, file.read)


def _as_it_is(source: LiveModel) -> Read:
    """Return a reader of a source as it is now, for one that the merge itself will change."""
    parts = [part for part in "qkvo" if part in source.parts]
    kept = {(layer, part): source.read(layer, part) for layer in range(source.shape.layers) for part in parts}
    return lambda layer, part: kept[layer, part] if (layer, part) in kept else source.read(layer, part)


def options_from(lam: float, options: dict[str, Any]) -> MergeOptions:
    """Return the options of a merge, checked as those of a run; raises ConfigError."""
    keys = {key.partition(".")[0] for key in options}
    known = {*FILE_OPTION_NAMES, "plugins"}
    unknown = sorted(keys - known)
    if unknown:
        raise ConfigError(f"{choices(unknown)}: not an option of a merge. The options are {choices(list(known))}")
    (job,) = jobs([*words_from((), {"lam": lam, **options}), *WITHOUT_SHAPES]).jobs
    return merge_options(job.config)


def _refuse_unfit(plan: MergePlan, target: LiveModel) -> None:
    """Raise MergeError for a method or an alignment that these two models do not allow."""
    method, align = plan.options.method.name, plan.options.align
    if METHODS[method].needs_moments or ALIGNMENTS[align].needs_activations:
        needs = f"method={method}" if METHODS[method].needs_moments else f"align={align}"
        raise MergeError(f"{needs}: needs activations on recordings, which mam.run measures. Say mam.run(...)")
    joins, pairs = METHODS[method].joins_qk, ALIGNMENTS[align].needs_heads
    if (joins or pairs) and plan.target.heads != plan.source.heads:
        needs = f"method={method}" if joins else f"align={align}"
        heads = f"the target has {plan.target.heads} heads and the source {plan.source.heads}"
        raise MergeError(f"{needs}: pairs head with head, but {heads}.")
    reader = target.reads_query() if joins else None
    if reader:
        raise MergeError(f"method={method}: writes Q and K in another basis, in which {reader} would mean nothing.")


def _loaded(name: str) -> PreTrainedModel:
    """Load a model of transformers in fp32, in the class that its config.json names."""
    checkpoint = locate(name)
    if checkpoint.is_beats:
        raise CheckpointError(f"{name}: is no model of transformers. Say mam.run(...), or mam merge for files.")
    refuse_unmergeable(checkpoint)
    architectures = checkpoint.config.get("architectures") or ["AutoModel"]
    architecture = getattr(transformers, str(architectures[0]), transformers.AutoModel)
    try:
        model: PreTrainedModel = architecture.from_pretrained(
            checkpoint.folder, dtype=torch.float32, local_files_only=True, trust_remote_code=False
        )
    except Exception as error:  # transformers raises many types; all mean that the folder is not usable
        raise CheckpointError(f"{name}: transformers cannot load it ({first_line(error)}).") from error
    return model
