"""The schema of a run, as a Hydra structured config that combines the dataclasses of the other modules."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

from annotated_types import Ge, Le
from hydra.core.config_store import ConfigStore
from typing_extensions import Doc

from mam.config.data import DataConfig
from mam.config.evaluation import DEVICES, HEADS, EvaluateConfig
from mam.config.merging import reads_base, reads_calibration, reads_lam
from mam.config.model import ModelConfig
from mam.config.study import LaunchConfig, StudyConfig
from mam.config.training import DTYPES, TrainConfig
from mam.config.tuning import TuneConfig
from mam.extensions import Plugin, code_in_use
from mam.files import sha256_json
from mam.identity import code_sha256
from mam.merging.options import METHOD_KEYS, MergeOptions
from mam.merging.tables import METHODS
from mam.scoring.bounds import OneOf
from mam.scoring.language_codes import tag_of, whisper_code


@dataclass
class Config(MergeOptions):
    """One run (or, with ``study``, a plan of several); the options of the merge are inherited."""

    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    tune: TuneConfig = field(default_factory=TuneConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
    launch: LaunchConfig = field(default_factory=LaunchConfig)
    study: StudyConfig = field(default_factory=StudyConfig)
    head: Annotated[
        str,
        OneOf(HEADS),
        Doc(
            "classifier of audio events: probe_fixed (fitted before merging), probe_refit (after), checkpoint (its own)"
        ),
    ] = "probe_fixed"
    seed: Annotated[int, Ge(0), Le(2**63), Doc("seed of the significance test, of random controls and of training")] = 0
    device: Annotated[str, OneOf(DEVICES), Doc("device to run on: auto, cpu, cuda")] = "auto"
    dtype: Annotated[
        str,
        OneOf(DTYPES),
        Doc("precision of inference: float32, bfloat16, float16 (GPU only); merging always uses float32"),
    ] = "float32"
    compile: Annotated[bool, Doc("whether to use torch.compile; audio is then padded to a few fixed lengths")] = False
    threads: Annotated[int | None, Ge(1), Le(1024), Doc("number of CPU threads for torch; null: torch's default")] = (
        None
    )
    track: Annotated[
        list[str],
        Doc("trackers that get results and figures: tensorboard, wandb, mlflow (pip install 'mam-bench[tracking]')"),
    ] = field(default_factory=list)
    plugins: Annotated[
        list[str], Doc("your own code (methods, data formats, ...): Python files, folders or modules")
    ] = field(default_factory=list)
    outputs: Annotated[str, Doc("folder in which run folders are made")] = "outputs"
    cache_dir: Annotated[str | None, Doc("cache folder, shared by runs; null: $MAM_CACHE, else ~/.cache/mam")] = None
    force: Annotated[bool, Doc("whether to run again although the same run has finished already")] = False


# Keys that affect locations and repetition, but not results.
VOLATILE = (
    "outputs",
    "cache_dir",
    "force",
    "plugins",
    "study",
    "launch",
    "track",
    "data.page",
    "evaluate.dev",
    "evaluate.by",
    "train.resume",
    "train.report_to",
    "evaluate.memory_gb",
    "evaluate.cache_gb",
    "evaluate.share",
)

# Paths and layer lists, which the command line reads verbatim, without Hydra's quoting.
VERBATIM = (
    "model.target",
    "model.source",
    "model.base",
    "data.root",
    "data.ids.",
    "data.metadata",
    "data.columns.",
    "data.hub.config",
    "data.hub.id",
    "data.hub.split.",
    "layers.spec",
    "heads",
    "outputs",
    "cache_dir",
    "train.resume",
    "calibration.",
)


def resolved(config: Config) -> dict[str, Any]:
    """Return a configuration as plain values, without keys that do not change results."""
    plain = asdict(config)
    for key in VOLATILE:
        *above, last = key.split(".")
        node = plain
        for name in above:
            node = node[name]
        node.pop(last)
    if not config.train.is_lmam:
        plain["train"].pop("lam")
    if not reads_calibration(config):
        plain.pop("calibration")
    if not reads_base(config):
        for key in ("base", "base_revision", "base_sha256"):
            plain["model"].pop(key)
    if not config.model.further:
        plain.pop("shares")
        for key in ("sources", "further_shapes"):
            plain["model"].pop(key)
    for key in METHOD_KEYS - set(METHODS[config.method.name].reads):
        plain["method"].pop(key)
    if not reads_lam(config):
        plain.pop("lam")
    _name_languages(plain)
    return plain


def _name_languages(plain: dict[str, Any]) -> None:
    """Replace languages by their codes, and remove languages and tasks that are not set."""
    for key, code in (("model", whisper_code), ("data", tag_of)):
        language = plain[key].pop("language")
        if language is not None and (key, plain["model"]["task"]) != ("data", "events"):
            plain[key]["language"] = code(language)
    if plain["model"]["speech_task"] == "transcribe":
        plain["model"].pop("speech_task")


def code_identity(config: Config) -> dict[str, Any]:
    """Return the hashes of the code that a run depends on: mam's sources and, if there are any, plug-ins."""
    hashes = sorted(plugin.sha256 for plugin in code_of(config))
    return {"code": code_sha256()} | ({"plugins": hashes} if hashes else {})


def code_of(config: Config) -> list[Plugin]:
    """Return the plug-ins that a run depends on."""
    return code_in_use(frozenset(_texts(resolved(config))))


def _texts(tree: Any) -> Iterator[str]:
    """Yield all text in a tree of plain values."""
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, dict | list):
        for value in tree.values() if isinstance(tree, dict) else tree:
            yield from _texts(value)


def signature_of(config: Config) -> str:
    """Return the first 8 hex digits of the resolved configuration's hash; used only in the name of a run's folder."""
    return sha256_json(resolved(config))[:8]


def read_from(config: ModelConfig | DataConfig) -> dict[str, Any]:
    """Return the fields that determine which files are read."""
    apart = ("language", "speech_task", "normalizer", "metric")
    return {key: value for key, value in asdict(config).items() if key not in apart}


# A name of mam's own: a notebook may hold another program of Hydra's.
ConfigStore.instance().store(name="mam_schema", node=Config)
