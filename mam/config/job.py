"""A job: a checked configuration with the words and files that it was composed from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf._utils import get_omega_conf_dumper

from mam.config.merging import merges_nothing
from mam.config.schema import Config, code_of, resolved, signature_of
from mam.config.search import ONLY_MAMS, ConfigFile, SearchPath


@dataclass(frozen=True)
class Job:
    """A checked configuration and the words that produce it from the defaults.

    ``files`` is Hydra's own node, with the selected file of each group. ``search`` says where the user's own files are
    looked up, ``own_files`` which of them the configuration was composed from.
    """

    config: Config
    words: tuple[str, ...]
    files: DictConfig = field(repr=False)
    search: SearchPath = ONLY_MAMS
    own_files: tuple[ConfigFile, ...] = field(default=(), repr=False)

    @property
    def resolved(self) -> dict[str, Any]:
        """The configuration as plain values, without keys that do not change results."""
        return resolved(self.config)

    @property
    def signature(self) -> str:
        """The first 8 hex digits of the resolved configuration's hash; used only in the name of the folder."""
        return signature_of(self.config)

    @property
    def is_empty_control(self) -> bool:
        """True for a control at λ=0, which repeats the baseline."""
        return self.config.control != "none" and merges_nothing(self.config)

    def varied(self, plan: Sequence[Job]) -> dict[str, str]:
        """Return the words of this job that not all jobs of ``plan`` share, as key -> value."""
        shared = set.intersection(*(set(job.words) for job in plan))
        own_words = [word for word in self.words if word not in shared and not word.startswith("evaluate.dev=")]
        words = dict(word.split("=", 1) for word in own_words)
        arm = words.pop("study.arm", None)
        if arm is None:
            return words
        study = self.config.study
        arms = [*study.arms.values(), *study.second.arms.values()]
        in_arms = {word.partition("=")[0] for arm_words in arms for word in arm_words}
        # Controls that no arm sets are added to every arm.
        axes = {*study.axes, *study.second.axes, *({"control"} - in_arms)}
        return {"arm": arm} | {key: value for key, value in words.items() if key in axes}


def hydra_files(job: Job) -> dict[str, str]:
    """Return the content of ``.hydra/`` in a run folder, in Hydra's own format: file name -> YAML.

    The user's own configurations are in ``own/``, a folder for ``--config-dir``, and plug-ins that were named by a path
    in ``plugins/``, so that the run can be repeated elsewhere.
    """
    files: Any = OmegaConf.to_container(job.files, enum_to_str=True)
    files["overrides"]["task"] = list(job.words)
    contents = {"config": asdict(job.config), "hydra": {"hydra": files}, "overrides": list(job.words)}
    return {f"{name}.yaml": _yaml(content) for name, content in contents.items()} | _copies(job)


def _yaml(content: object) -> str:
    """Return plain values as OmegaConf writes them; to make nodes of them first takes long."""
    dumper = get_omega_conf_dumper()
    return yaml.dump(content, default_flow_style=False, allow_unicode=True, sort_keys=False, Dumper=dumper)


def _copies(job: Job) -> dict[str, str]:
    """Return the user's own configurations and plug-ins that a job was made of."""
    configs = {f"own/{file.name}.yaml": file.text for file in job.own_files}
    plugins: dict[str, str] = {}
    for plugin in code_of(job.config):
        is_taken = any(f"plugins/{name}" in plugins for name in plugin.sources)
        folder = f"plugins/{plugin.sha256[:8]}" if is_taken else "plugins"  # two files of one name
        plugins |= {f"{folder}/{name}": text for name, text in plugin.sources.items()}
    return configs | plugins
