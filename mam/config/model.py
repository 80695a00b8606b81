"""The pair of models: their checkpoints and shapes, and the decoder's language and task."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

from annotated_types import Ge, Le
from omegaconf import MISSING
from typing_extensions import Doc

from mam.errors import choices
from mam.merging.options import MergeOptions
from mam.merging.pairing import PAIRINGS
from mam.merging.shape import Shape
from mam.merging.tables import CONTROLS
from mam.scoring.bounds import OneOf
from mam.scoring.language_codes import LANGUAGES, whisper_code

if TYPE_CHECKING:
    from mam.config.schema import Config

TASK_NAMES = ("asr", "events")
SPEECH_TASKS = ("transcribe", "translate")
SIDES = ("target", "source")
ROLES = (*SIDES, "base")  # of checkpoints


@dataclass
class ShapeConfig:
    """The depth, width and heads of a model; null values are read from its checkpoint, others checked against it."""

    layers: Annotated[
        int | None, Ge(1), Le(10_000), Doc("number of encoder layers; null: read from the checkpoint")
    ] = None
    width: Annotated[
        int | None, Ge(1), Le(10**6), Doc("width of the hidden states; null: read from the checkpoint")
    ] = None
    heads: Annotated[
        int | None, Ge(1), Le(10**5), Doc("number of attention heads per layer; null: read from the checkpoint")
    ] = None
    decoder: Annotated[
        int | None, Ge(0), Le(10_000), Doc("number of decoder layers; null: read from the checkpoint if needed")
    ] = None


@dataclass
class ModelConfig:
    """The pair of models."""

    name: Annotated[str, Doc("name of the pair, for tables")] = MISSING
    task: Annotated[str, OneOf(TASK_NAMES), Doc("task: asr (speech recognition) or events (audio events)")] = "asr"
    pairing: Annotated[str, OneOf(PAIRINGS), Doc("default for pairing with this pair")] = "index"
    on_mismatch: Annotated[str, OneOf(("error", "project")), Doc("default for on_mismatch with this pair")] = "error"
    target: Annotated[str, Doc("checkpoint: hub id, folder, BEATs file, or asset:NAME for a bundled model")] = MISSING
    target_revision: Annotated[str, Doc("branch, tag or commit on the hub")] = "main"
    target_sha256: Annotated[str | None, Doc("expected SHA-256 of the weights; null: not checked")] = None
    language: Annotated[
        str | None,
        Doc(
            "language that Whisper decodes; null: the checkpoint's setting, else English (English-only checkpoint),"
            " else detected"
        ),
    ] = None
    speech_task: Annotated[str, OneOf(SPEECH_TASKS), Doc("what Whisper does: transcribe or translate")] = "transcribe"
    target_shape: Annotated[
        ShapeConfig, Doc("shape, which is checked against the checkpoint; null values are read from it")
    ] = field(default_factory=ShapeConfig)
    pretrained_on: Annotated[
        list[str],
        Doc("collections that the target was trained on; results on data from them show a caveat"),
    ] = field(default_factory=list)
    sources: Annotated[
        list[str],
        Doc("several sources, each given like target; the first is model.source and has its keys"),
    ] = field(default_factory=list)
    source: Annotated[str, Doc("checkpoint of the source, given like target")] = MISSING
    source_revision: Annotated[str, Doc("like target_revision")] = "main"
    source_sha256: Annotated[str | None, Doc("like target_sha256")] = None
    source_shape: Annotated[ShapeConfig, Doc("like target_shape")] = field(default_factory=ShapeConfig)
    further_shapes: Annotated[
        list[ShapeConfig], Doc("shapes of the second and later sources; empty: read from the checkpoints")
    ] = field(default_factory=list)
    base: Annotated[
        str | None,
        Doc("checkpoint that target and source were both fine-tuned from, for task vectors; given like target"),
    ] = None
    base_revision: Annotated[str, Doc("like target_revision")] = "main"
    base_sha256: Annotated[str | None, Doc("like target_sha256")] = None

    @property
    def further(self) -> list[str]:
        """The second source and those after it."""
        return self.sources[1:]


def shape_of(stated: ShapeConfig, where: str = "encoder") -> Shape | None:
    """Return a configured shape, or None if a number is missing.

    The depth of a decoder matters only for a merge of the stacks ``where`` of which one is a decoder's.
    """
    if stated.layers is None or stated.width is None or stated.heads is None:
        return None
    if where != "encoder" and stated.decoder is None:
        return None
    return Shape(stated.layers, stated.width, stated.heads, stated.decoder or 0)


def shapes(config: ModelConfig) -> tuple[Shape, Shape]:
    """Return the shapes of target and source of a configuration in which they are filled in."""
    target, source = (shape_of(stated) for stated in (config.target_shape, config.source_shape))
    assert target is not None and source is not None, "shapes must be read from the checkpoints first"
    return target, source


def further_shapes(config: ModelConfig, where: str = "encoder") -> list[Shape]:
    """Return the shapes of the second source and those after it, as far as they are filled in."""
    stated = [shape_of(shape, where) for shape in config.further_shapes]
    return [shape for shape in stated if shape is not None]


def model_problems(config: Config) -> Iterator[str]:
    """Yield problems with the names and shapes of the models, and with the decoder's language."""
    model = config.model
    for role in ROLES:
        name = getattr(model, role)
        if name is not None and not name.strip():
            yield f"model.{role}: is empty. Give a hub id, a folder or a BEATs file"
        if not getattr(model, f"{role}_revision").strip():
            yield f"model.{role}_revision: is empty. Give a revision, or leave it out"
    yield from _sources_problems(model)
    for side in SIDES:
        yield from _shape_problems(model, side)
    if model.language is not None and whisper_code(model.language) is None:
        yield language_problem("model.language", model.language, "language that Whisper knows")
    if model.task == "events":
        if model.language is not None:
            yield "model.language: has no effect on audio events"
        if model.speech_task != "transcribe":
            yield "model.speech_task: has no effect on audio events"


def _sources_problems(model: ModelConfig) -> Iterator[str]:
    """Yield problems with a list of sources."""
    listed = ",".join(model.sources)
    if any(not name.strip() for name in model.sources):
        yield f"model.sources=[{listed}]: has an empty name. Give a hub id, a folder or a BEATs file for each"
    twice = sorted({name for name in model.sources if model.sources.count(name) > 1})
    if twice:
        yield f"model.sources=[{listed}]: {', '.join(twice)} occurs twice. Name it once, with the sum of its λ"
    if model.sources and model.source != model.sources[0]:
        yield (
            f"model.source={model.source}: differs from the first of model.sources=[{listed}]. Leave one of the two out"
        )
    if model.further_shapes and len(model.further_shapes) != len(model.further):
        yield (
            f"model.further_shapes: has {len(model.further_shapes)} shapes, but model.sources has"
            f" {len(model.further)} after the first. Leave further_shapes out to read them from the checkpoints"
        )


def _shape_problems(model: ModelConfig, side: str) -> Iterator[str]:
    shape = shape_of(getattr(model, f"{side}_shape"))
    if shape is not None and shape.width % shape.heads:
        yield (
            f"model.{side}_shape: a width of {shape.width} is not divisible by {shape.heads} heads. Leave the shape out"
            " to read it from the checkpoint"
        )


def language_problem(key: str, value: str, kind: str) -> str:
    """Return a sentence about an unknown language."""
    if value == "False":  # YAML 1.1 reads an unquoted no as false
        return f"{key}={value}: YAML reads an unquoted no as false. Use 'no' or norwegian"
    known = choices([f"{code} ({name})" for code, name in LANGUAGES.items()])
    return f"{key}={value}: not a {kind}. Choose a code or an English name: {known}"


def is_complete(config: ModelConfig, where: str) -> bool:
    """Return whether all shapes are filled in as far as a merge of the stacks ``where`` needs them."""
    has_both = all(shape_of(stated, where) is not None for stated in (config.target_shape, config.source_shape))
    return has_both and len(further_shapes(config, where)) == len(config.further)


def widths_differ(options: MergeOptions, target: Shape, source: Shape) -> bool:
    """Return whether a source of another width is merged into the target."""
    return target.width != source.width and CONTROLS[options.control].layers != "own"
