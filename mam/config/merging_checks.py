"""What can be wrong in how two models are merged: method, alignment, widths, depths, schedule, one sentence each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mam.config.schema import CalibrationConfig, Config, MethodConfig, ScheduleConfig
from mam.errors import MamError
from mam.merge.align import ALIGNMENTS
from mam.merge.controls import CONTROLS
from mam.merge.methods import METHODS
from mam.merge.pairing import PAIRINGS
from mam.merge.schedules import ABSOLUTE, SCHEDULES
from mam.merge.selection import parse_heads, parse_layers, parse_parts

ON_MISMATCH = ("error", "project")
OPTIONS = {  # of schedules: which of them read it
    "start": ("linear",),
    "end": ("linear",),
    "values": ("list",),
    "alpha": ("power", "lines"),
    "beta": ("power", "lines"),
    "center": ("gaussian",),
    "width": ("gaussian",),
}


def merging_problems(config: Config) -> list[str]:
    """Everything that is wrong about the merge itself."""
    found = [*_schedule_problems(config.schedule), *_method_problems(config), *_alignment_problems(config)]
    try:
        parse_heads(config.heads, config.model.target_shape.heads)
    except MamError as error:
        found.append(str(error))
    try:
        parts = parse_parts(config.parts)
        if config.control in CONTROLS and not set(parts) & set(CONTROLS[config.control].parts):
            kept = CONTROLS[config.control].parts
            found.append(f"parts={config.parts}: leaves nothing for control={config.control}, which merges {kept} only")
    except MamError as error:
        found.append(str(error))
    is_known = config.method.name in METHODS and config.align in ALIGNMENTS
    tests_train = config.calibration.audio == "train" and config.data.split == "not_dev"
    if is_known and tests_train and reads_calibration(config):
        found.append(
            "calibration.audio=train: data.split=not_dev tests these recordings too. Say data.split=test, or"
            " calibration.audio=FOLDER"
        )
    return found + _depth_problems(config)


def _method_problems(config: Config) -> list[str]:
    """What a method needs, and settings that it does not read."""
    method, defaults, found = config.method, MethodConfig(), []
    if method.name not in METHODS:
        return []
    entry = METHODS[method.name]
    if entry.needs_moments and config.calibration.source is None:
        found.append(
            f"method={method.name}: needs inputs on which the source's activations are measured. Say"
            " calibration.source=FILE with a sentence a line, or =FOLDER of images or recordings for a source that"
            " reads those"
        )
    readers = " or ".join(name for name, other in METHODS.items() if other.needs_moments)
    if not entry.needs_moments and method.alpha != defaults.alpha:
        found.append(f"method.alpha: has no effect without method={readers}")
    if not 0 <= method.alpha <= 1:
        found.append(f"method.alpha={method.alpha:g}: must be from 0 to 1")
    if entry.joins_qk:
        kept = CONTROLS[config.control].parts if config.control in CONTROLS else "qkvo"
        if not {"q", "k"} <= {part for part in config.parts if part in kept}:
            found.append(
                f"method={method.name}: merges Q and K together, and parts={config.parts} control={config.control}"
                " leaves one of them out. Say parts=qkv and a control that merges both, or method=linear"
            )
        if not config.bias:
            found.append(
                f"method={method.name}: writes Q and K in another basis, in which the target's biases mean nothing."
                " Leave bias=false out, or say method=linear"
            )
    if config.train.name == "lmam" and method.name != "linear":
        found.append(
            f"method={method.name}: train=lmam learns λ of (1-λ) W_t + λ W_s. Say method=linear, or train=finetune"
            " for a λ that is fixed"
        )
    return found


def _alignment_problems(config: Config) -> list[str]:
    """An alignment with nothing to align; a projection or a calibration of which nothing is asked."""
    found = []
    control, calibration = CONTROLS.get(config.control), config.calibration
    measure = [f"method={name}" for name, entry in METHODS.items() if entry.needs_moments]
    measure += [f"align={name}" for name, entry in ALIGNMENTS.items() if entry.needs_activations]
    given = {"source": calibration.source is not None} | {
        key: getattr(calibration, key) != getattr(CalibrationConfig(), key) for key in ("audio", "limit")
    }
    readers = {"source": measure[:1], "audio": measure, "limit": measure}
    chosen = (f"method={config.method.name}", f"align={config.align}")
    is_shared = config.study.name != "none"  # by members of which some read it
    for key in (key for key, is_given in given.items() if is_given and not is_shared):
        if not set(readers[key]) & set(chosen):
            found.append(f"calibration.{key}: has no effect without {' or '.join(readers[key])}")
    if not 1 <= calibration.limit <= 10**6:
        found.append(f"calibration.limit={calibration.limit}: must be from 1 to 1 000 000")
    if config.align != "none" and control and not control.has_structure:
        found.append(
            f"align={config.align}: control={config.control} leaves nothing of the source that could be aligned: it"
            " replaces what was learnt by numbers without structure. Compare with that control at align=none"
        )
    if config.on_mismatch == "error" and config.project != Config().project:
        found.append("project: has no effect without on_mismatch=project")
    return found


def _schedule_problems(schedule: ScheduleConfig) -> list[str]:
    defaults = ScheduleConfig()
    return [
        f"schedule.{name}: has no effect without schedule={' or '.join(readers)}"
        for name, readers in OPTIONS.items()
        if schedule.name not in readers and getattr(schedule, name) != getattr(defaults, name)
    ]


def _depth_problems(config: Config) -> list[str]:
    """Layers, schedule and pairing against the depths and widths that the model's configuration states."""
    found: list[str] = []
    target, source = config.model.target_shape, config.model.source_shape
    try:
        selected = parse_layers(config.layers.spec, target.layers)
    except MamError as error:
        return [str(error)]
    if config.schedule.name in SCHEDULES:
        try:
            SCHEDULES[config.schedule.name](config.lam, target.layers, config.schedule)
        except MamError as error:
            found.append(str(error))
    if config.pairing in PAIRINGS:
        try:
            PAIRINGS[config.pairing](selected, target.layers, source.layers)
        except MamError as error:
            found.append(str(error))
    if config.control == "shuffle_layers" and source.layers < 2:
        found.append("control=shuffle_layers: the source has one layer, there is none to exchange it with")
    if config.control == "self" and target.layers < 2:
        found.append("control=self: the target has one layer, there is no other to take")
    differ = target.width != source.width and getattr(CONTROLS.get(config.control), "layers", "paired") != "own"
    if differ and config.on_mismatch == "error":
        found.append(
            f"model: the target is {target.width} wide and the source {source.width}. Widths must agree; say"
            " on_mismatch=project, or choose another source, or mend model.*_shape if they do."
        )
    return found


def reads_lam(config: Config) -> bool:
    """Whether ``lam`` decides anything: not where the schedule says λ itself, nor where λ is chosen on dev."""
    return config.schedule.name not in ABSOLUTE and config.tune.name == "none"


def with_plain_lam(config: Config) -> Config:
    """The configuration with a ``lam`` that does not depend on what was said, where nothing reads it.

    Beside a schedule that says λ itself it is 1, and 0 where that merges nothing: what asks whether a run merges
    anything asks ``lam``.
    """
    if reads_lam(config):
        return config
    if config.schedule.name not in ABSOLUTE:
        return replace(config, lam=Config().lam)
    depth = config.model.target_shape.layers
    lams = SCHEDULES[config.schedule.name](config.lam, depth, config.schedule)
    return replace(config, lam=float(any(lams[layer] for layer in parse_layers(config.layers.spec, depth))))


def idle_lam(plan: Sequence[tuple[Config, float]]) -> list[str]:
    """What is wrong where a plan varies a ``lam`` that its runs do not read; a run stands beside what was said."""
    found = []
    idle = [(config, lam) for config, lam in plan if not reads_lam(config)]
    if len({lam for _, lam in idle}) > 1:
        config = idle[0][0]
        is_absolute = config.schedule.name in ABSOLUTE
        why = f"schedule={config.schedule.name} says λ itself" if is_absolute else f"tune={config.tune.name} chooses λ"
        lams = ", ".join(f"{lam:g}" for lam in sorted({lam for _, lam in idle}))
        remedy = "schedule=constant" if is_absolute else "tune=none"
        found.append(
            f"lam: has no effect where {why}, and is {lams} in runs that would be the same. Leave it out, or say"
            f" {remedy} with each lam that is meant (in a study: in the arm)"
        )
    return found


def replacing_schedule(words: Sequence[str], more: Sequence[str]) -> tuple[str, ...]:
    """``words``, then ``more``; where those choose a schedule of their own, without options that it does not read."""
    chosen = [word.partition("=")[2] for word in more if word.startswith(("schedule=", "schedule.name="))]
    unread = tuple(f"schedule.{key}=" for key, readers in OPTIONS.items() if chosen and chosen[-1] not in readers)
    return (*(word for word in words if not (unread and word.startswith(unread))), *more)


def reads_calibration(config: Config) -> bool:
    """Whether the merge depends on what is measured on activations."""
    return METHODS[config.method.name].needs_moments or ALIGNMENTS[config.align].needs_activations


def without_unread(words: Sequence[str]) -> tuple[str, ...]:
    """The words of a member of a sweep, without those on calibration where it reads none."""
    said = dict(word.split("=", 1) for word in words)
    method = METHODS.get(said.get("method.name", said.get("method", "linear")))
    alignment = ALIGNMENTS.get(said.get("align", "none"))
    if method is None or alignment is None or method.needs_moments or alignment.needs_activations:
        return tuple(words)
    return tuple(word for word in words if not word.startswith("calibration."))


def unaligned(words: Sequence[str]) -> tuple[str, ...]:
    """The words without their alignment, where their control leaves nothing to align: it stands beside as it is."""
    said = dict(word.split("=", 1) for word in words)
    control = CONTROLS.get(said.get("control", "none"))
    if said.get("align", "none") == "none" or control is None or control.has_structure:
        return tuple(words)
    return (*(word for word in words if not word.startswith("align=")), "align=none")
