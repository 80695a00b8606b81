"""Checks of the options of a merge, and which of them a run reads. The options are `MergeOptions`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from mam.config.merged_parts import parts_problems, where_problems
from mam.config.model import further_shapes, shape_of, shapes, widths_differ
from mam.errors import MamError
from mam.merging.by_layer import lams_of, paired_layers, selected_layers
from mam.merging.options import (
    METHOD_KEYS,
    Calibration,
    MergeOptions,
    MethodOptions,
    ScheduleOptions,
    activation_choices,
)
from mam.merging.pairing import MEASURED
from mam.merging.plan import MergePlan, plan_merge
from mam.merging.schedules import SCHEDULES
from mam.merging.selection import parse_heads
from mam.merging.several import shares_of
from mam.merging.shape import Shape
from mam.merging.tables import ALIGNMENTS, CONTROLS, METHODS, REPAIRS

if TYPE_CHECKING:
    from mam.config.schema import Config


def merging_problems(config: Config) -> Iterator[str]:
    """Yield invalid combinations in the merge; each option on its own is valid."""
    yield from _schedule_problems(config.schedule)
    yield from _method_problems(config)
    yield from _alignment_problems(config)
    yield from _calibration_problems(config)
    yield from _repair_problems(config)
    yield from parts_problems(config)
    yield from where_problems(config)
    yield from _sources_problems(config)
    model = config.model
    target, source = (shape_of(stated, config.where) for stated in (model.target_shape, model.source_shape))
    if target is not None and source is not None:
        yield from _target_problems(config, target)
        for name, one in zip(
            model.sources or [model.source], (source, *further_shapes(model, config.where)), strict=False
        ):
            yield from _source_problems(config, target, one, name if model.further else "the source")


def _schedule_problems(schedule: ScheduleOptions) -> Iterator[str]:
    defaults = ScheduleOptions()
    for name in _schedule_keys():
        readers = [other for other, entry in SCHEDULES.items() if name in entry.reads]
        if schedule.name not in readers and getattr(schedule, name) != getattr(defaults, name):
            yield f"schedule.{name}: has no effect without schedule={' or '.join(readers)}"


def _method_problems(config: Config) -> Iterator[str]:
    """Yield missing requirements of a method, and settings that it does not read."""
    method, traits = config.method, METHODS[config.method.name]
    if traits.needs_moments and config.calibration.source is None:
        yield (
            f"method={method.name}: needs inputs for the source, to measure its activations. Set"
            " calibration.source=FILE (text, one sentence per line) or calibration.source=FOLDER (images or recordings)"
        )
    for key in sorted(METHOD_KEYS - set(traits.reads)):
        if getattr(method, key) != getattr(MethodOptions(), key):
            readers = " or ".join(name for name, other in METHODS.items() if key in other.reads)
            yield f"method.{key}: has no effect without method={readers}"
    yield from _base_problems(config)
    if traits.joins_qk:
        merged = {part for part in config.parts if part in CONTROLS[config.control].parts}
        if not {"q", "k"} <= merged:
            yield (
                f"method={method.name}: merges Q and K together, but parts={config.parts} control={config.control}"
                " leaves one of them out. Set parts=qkv and a control that includes both, or method=linear"
            )
        if not config.bias:
            yield (
                f"method={method.name}: changes the basis of Q and K, so the target's biases cannot be kept."
                " Leave bias=false out, or set method=linear"
            )
    if config.train.name == "lmam" and not traits.is_learnable:
        known = " or ".join(name for name, other in METHODS.items() if other.is_learnable)
        yield (
            f"method={method.name}: its λ cannot be learnt with train=lmam. Set method={known}, or train=finetune"
            " (λ fixed)"
        )


def _base_problems(config: Config) -> Iterator[str]:
    """Yield a missing base, one that nothing reads, and options that have no meaning for models with one."""
    method, base = config.method.name, config.model.base
    if not METHODS[method].needs_base:
        if base is not None and config.study.name == "none":  # a member of a study may read it
            readers = " or ".join(name for name, traits in METHODS.items() if traits.needs_base)
            yield f"model.base: has no effect without method={readers}"
        return
    if base is None:
        yield (
            f"method={method}: merges task vectors, the differences between the models and the checkpoint that both"
            " were fine-tuned from. Set model.base=CHECKPOINT (in mam.merge: base=). Models without a common ancestor,"
            " such as HuBERT and BERT, have no task vectors"
        )
    for key, value in (("align", config.align), ("on_mismatch", config.on_mismatch)):
        if value != getattr(MergeOptions(), key):
            yield (
                f"{key}={value}: does not apply to method={method}, since models with a common ancestor have the same"
                f" width and basis. Leave {key} out"
            )


def _alignment_problems(config: Config) -> Iterator[str]:
    if config.align != "none" and not CONTROLS[config.control].has_structure:
        yield (
            f"align={config.align}: control={config.control} replaces the source with numbers that have no structure"
            " to align. Set align=none for this control"
        )
    if config.on_mismatch == "error" and config.project != MergeOptions().project:
        yield "project: has no effect without on_mismatch=project"


def _calibration_problems(config: Config) -> Iterator[str]:
    """Yield a calibration that nothing reads, or that uses the test data."""
    calibration, defaults = config.calibration, Calibration()
    methods = [f"method={name}" for name, traits in METHODS.items() if traits.needs_moments]
    alignments = [f"align={name}" for name, traits in ALIGNMENTS.items() if traits.needs_activations]
    repairs = [f"repair={name}" for name in REPAIRS if name != "none"]
    recorded = methods + alignments + repairs + [f"pairing={name}" for name in MEASURED]
    readers = {"source": methods, "audio": recorded, "limit": recorded}
    chosen = {
        f"method={config.method.name}",
        f"align={config.align}",
        f"repair={config.repair}",
        f"pairing={config.pairing}",
    }
    is_shared = config.study.name != "none"  # some members may read it
    for key, names in readers.items():
        is_given = getattr(calibration, key) != getattr(defaults, key)
        if is_given and not is_shared and not chosen & set(names):
            yield f"calibration.{key}: has no effect without {' or '.join(names)}"
    if calibration.audio == "train" and config.data.split == "not_dev" and reads_calibration(config):
        yield (
            "calibration.audio=train: data.split=not_dev also tests on these recordings. Set data.split=test, or"
            " calibration.audio=FOLDER"
        )


def _repair_problems(config: Config) -> Iterator[str]:
    if config.repair == "none":
        return
    if config.train.is_lmam:
        yield (
            f"repair={config.repair}: cannot be used with train=lmam, which merges again at every step. Set repair=none"
        )
    if not config.bias:
        yield f"repair={config.repair}: rescales biases too, so it needs bias=true. Leave bias=false out"
    if not set(config.parts) & set("qkv"):
        yield (
            f"repair={config.repair}: rescales Q, K and V, but parts={config.parts} merges none of them. Set"
            " repair=none"
        )


def _sources_problems(config: Config) -> Iterator[str]:
    """Yield shares that fit no number of sources, and options that are defined for one source."""
    try:
        shares_of(config.shares, 1 + len(config.model.further))
    except MamError as error:
        yield str(error)
    if not config.model.further:
        return
    if not METHODS[config.method.name].is_learnable:
        known = " or ".join(name for name, traits in METHODS.items() if traits.is_learnable)
        yield f"method={config.method.name}: merges only one source, but model.sources has several. Set method={known}"
    for word, other in activation_choices(config).items():
        if not word.startswith("repair="):
            yield f"{word}: works with only one source, but model.sources has several. Set {other}"


def _target_problems(config: Config, target: Shape) -> Iterator[str]:
    """Yield problems with the depth and heads of the target."""
    for check in (lambda: parse_heads(config.heads, target.heads), lambda: lams_of(config, target)):
        try:
            check()
        except MamError as error:
            yield str(error)


def _source_problems(config: Config, target: Shape, source: Shape, name: str) -> Iterator[str]:
    """Yield problems with the depth and width of a source, and with the layers that it is merged into."""
    try:
        paired_layers(config, target, source)
    except MamError as error:
        yield str(error)
    if config.on_mismatch == "error" and widths_differ(config, target, source):
        yield (
            f"model: the width of the target is {target.width}, that of {name} is {source.width}. They must agree: set"
            " on_mismatch=project, choose another source, or correct model.*_shape if it is wrong."
        )


def plan_of(config: Config) -> MergePlan:
    """Return the merge of a configuration whose shapes are filled in; raises MergeError as `plan_merge` does."""
    return plan_merge(config, *shapes(config.model), config.seed, further=further_shapes(config.model))


def reads_lam(config: Config) -> bool:
    """Return whether ``lam`` has an effect: not if the schedule sets λ itself, or λ is chosen on dev."""
    return not SCHEDULES[config.schedule.name].is_absolute and config.tune.name == "none"


def reads_calibration(options: MergeOptions) -> bool:
    """Return whether the merge depends on statistics of activations."""
    return bool(activation_choices(options))


def reads_base(options: MergeOptions) -> bool:
    """Return whether the merge needs a common ancestor of target and source."""
    return METHODS[options.method.name].needs_base


def merges_nothing(config: Config) -> bool:
    """Return whether λ is 0 in every selected layer, so that the run is the unmerged target."""
    if config.tune.name != "none":
        return False
    if not SCHEDULES[config.schedule.name].is_absolute:
        return config.lam == 0
    target = shape_of(config.model.target_shape, config.where)
    if target is None:  # asked again when the shape is known
        return False
    lams = lams_of(config, target)
    return not any(lams[layer] for layer in selected_layers(config, target))


def idle_lam_problems(plan: Sequence[Config]) -> list[str]:
    """Return a problem if a plan varies a ``lam`` that its runs do not read."""
    idle = [config for config in plan if not reads_lam(config)]
    if len({config.lam for config in idle}) < 2:
        return []
    first = idle[0]
    is_absolute = SCHEDULES[first.schedule.name].is_absolute
    why = f"schedule={first.schedule.name} sets λ itself" if is_absolute else f"tune={first.tune.name} chooses λ"
    remedy = "schedule=constant" if is_absolute else "tune=none"
    lams = ", ".join(f"{lam:g}" for lam in sorted({config.lam for config in idle}))
    return [
        f"lam: has no effect if {why}, so the runs with lam={lams} would be the same. Leave lam out, or set {remedy}"
        " with each lam (in a study: in the arm)"
    ]


def without_idle_words(words: Sequence[str]) -> tuple[str, ...]:
    """Return the words of a member of a sweep, without calibration if the member does not read it."""
    options = dict(word.split("=", 1) for word in words)
    method = METHODS.get(options.get("method.name", options.get("method", "linear")))
    alignment = ALIGNMENTS.get(options.get("align", "none"))
    reads_more = options.get("repair", "none") != "none" or options.get("pairing") in MEASURED
    if method is None or alignment is None or method.needs_moments or alignment.needs_activations or reads_more:
        return tuple(words)
    return tuple(word for word in words if not word.startswith("calibration."))


def without_idle_alignment(words: Sequence[str]) -> tuple[str, ...]:
    """Return the words, with ``align=none`` if their control keeps nothing of the source to align."""
    options = dict(word.split("=", 1) for word in words)
    control = CONTROLS.get(options.get("control", "none"))
    if options.get("align", "none") == "none" or control is None or control.has_structure:
        return tuple(words)
    return (*(word for word in words if not word.startswith("align=")), "align=none")


def with_schedule_of(words: Sequence[str], more: Sequence[str]) -> tuple[str, ...]:
    """Return ``words`` followed by ``more``; a schedule in ``more`` removes options that it does not read."""
    chosen = [word.partition("=")[2] for word in more if word.startswith(("schedule=", "schedule.name="))]
    entry = SCHEDULES.get(chosen[-1]) if chosen else None
    unread = tuple(f"schedule.{key}=" for key in _schedule_keys() if entry is not None and key not in entry.reads)
    return (*(word for word in words if not (unread and word.startswith(unread))), *more)


def _schedule_keys() -> list[str]:
    """Return the options of a schedule."""
    return [option.name for option in fields(ScheduleOptions) if option.name != "name"]
