"""The models of a merge in memory: a target that is changed, a source and a base that are only read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from weakref import WeakKeyDictionary

import torch
import transformers
from torch import nn
from transformers import PreTrainedModel

from mam.errors import CheckpointError, ConfigError, MergeError, first_line
from mam.merging.adapted_source import Read, finite
from mam.merging.merger import Merger
from mam.merging.options import MergeOptions, activation_choices
from mam.merging.plan import MergePlan, plan_merge
from mam.merging.shape import Shape
from mam.merging.tables import ALIGNMENTS, METHODS
from mam.models.live import LiveModel, unwrapped
from mam.models.locate import locate
from mam.models.refusals import refuse_unmergeable
from mam.models.sources import Source

Named = str | PathLike[str]
Given = nn.Module | Named
# By the attention modules that a merge changed, so that it is known by every model that they are part of.
MERGED: WeakKeyDictionary[nn.Module, Merger] = WeakKeyDictionary()


@dataclass(frozen=True)
class Donor:
    """A model that is only read: its shape, and the reader of its attention."""

    shape: Shape
    read: Read


@dataclass(frozen=True)
class Sides:
    """A target in memory, sources and perhaps a base in memory or on disk, ready to be merged."""

    target: LiveModel
    sources: tuple[Donor, ...]
    base: Donor | None = None

    def plan(self, options: MergeOptions, seed: int) -> MergePlan:
        """Return the plan of a merge; raises MergeError if the models do not fit."""
        source, *further = (donor.shape for donor in self.sources)
        plan = plan_merge(options, self.target.shape, source, seed, further=further)
        for one in plan.each:
            _refuse_unfit(one, self.target)
        self._refuse_base()
        for layer in plan.layers:
            for part in plan.parts_at(layer):
                finite(self.target.read, "target", layer, part)  # also refuses what cannot be written
        return plan

    def merger(self) -> Merger:
        """Return a merger of the models."""
        source, *further = (donor.read for donor in self.sources)
        return Merger(self.target.blocks, source, None if self.base is None else self.base.read, *further)

    def _refuse_base(self) -> None:
        """Raise MergeError for a base of another shape than target or source."""
        source = self.sources[0].shape
        if self.base is not None and len({self.target.shape, source, self.base.shape}) > 1:
            raise MergeError(
                f"base: its shape is {self.base.shape}, that of the target {self.target.shape}, that of the source"
                f" {source}. Models with a common ancestor have the same shape."
            )


def is_merged(model: nn.Module) -> bool:
    """Return whether `merge` has changed the model, and `unmerge` has not restored it."""
    return bool(mergers_of(model))


def mergers_of(model: nn.Module) -> list[Merger]:
    """Return the merges that changed modules of a model."""
    found = {id(MERGED[module]): MERGED[module] for module in model.modules() if module in MERGED}
    return list(found.values())


def sides_of(target: Given, source: Given | Sequence[Given], base: Given | None = None) -> Sides:
    """Return the models of a merge; raises MamError for one that is unusable, or a target that is merged already."""
    sources = several(source)
    named = [("target", target), *(("source", one) for one in sources), *([("base", base)] if base is not None else [])]
    for side, model in named:
        if not isinstance(model, nn.Module | str | PathLike):
            raise ConfigError(
                f"{side}: {type(model).__name__} is not a model. Give a torch module, a hub id or a folder"
            )
    model = unwrapped(target) if isinstance(target, nn.Module) else _loaded(fspath(target))
    if is_merged(model):
        raise MergeError(
            f"target {type(model).__name__}: is merged already. Call mam.unmerge(model) first, or merge with copy=True"
            " from the unmerged model."
        )
    live = LiveModel(model, "target")
    donors = tuple(_donor(one, "source", model) for one in sources)
    return Sides(live, donors, None if base is None else _donor(base, "base", model))


def several(source: Given | Sequence[Given]) -> list[Given]:
    """Return the sources of a merge as a list; raises ConfigError if it is empty."""
    if isinstance(source, nn.Module | str | PathLike) or not isinstance(source, Sequence):
        return [source]  # of another type: refused beside the others
    if not source:
        raise ConfigError("source: the list is empty. Give one or more models")
    return list(source)


def _donor(given: Given, side: str, target: nn.Module) -> Donor:
    """Return a model that is read, in memory or on disk; one that shares modules with the target is read now."""
    if isinstance(given, nn.Module):
        other = LiveModel(unwrapped(given), side)
        shares = not {id(module) for module in target.modules()}.isdisjoint(map(id, given.modules()))
        return Donor(other.shape, _as_it_is(other) if shares else other.read)
    file = Source(locate(fspath(given)))
    return Donor(file.shape, file.read)


def _as_it_is(source: LiveModel) -> Read:
    """Return a reader of a source as it is now, for one that the merge itself will change."""
    layers = range(max(stack.numbers.stop for stack in source.shape.stacks.values()))
    kept = {(layer, part): source.read(layer, part) for layer in layers for part in source.parts_at(layer)}
    return lambda layer, part: kept[layer, part] if (layer, part) in kept else source.read(layer, part)


def _refuse_unfit(plan: MergePlan, target: LiveModel) -> None:
    """Raise MergeError for a method or an alignment that these two models do not allow."""
    method, align = plan.options.method.name, plan.options.align
    for word in activation_choices(plan.options):
        raise MergeError(f"{word}: needs activations on recordings, which only mam.run measures. Use mam.run(...)")
    joins, pairs = METHODS[method].joins_qk, ALIGNMENTS[align].needs_heads
    if (joins or pairs) and plan.target.heads != plan.source.heads:
        needs = f"method={method}" if joins else f"align={align}"
        heads = f"the target has {plan.target.heads} heads and the source {plan.source.heads}"
        raise MergeError(f"{needs}: needs equally many heads, but {heads}.")
    reader = target.reads_query() if joins else None
    if reader:
        raise MergeError(f"method={method}: changes the basis of Q and K, so {reader} would no longer work.")


def _loaded(name: str) -> PreTrainedModel:
    """Load a model of transformers in fp32, in the class that its config.json names."""
    checkpoint = locate(name)
    if checkpoint.is_beats:
        raise CheckpointError(f"{name}: is not a transformers model. Use mam.run(...), or mam merge for files.")
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
