"""Making a recorded run again: its words, what differs now, and whether the predictions are the same bytes."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from mam.config.command import flat
from mam.config.job import Job
from mam.config.search import FILE, SearchPath, split_search
from mam.errors import ConfigError, RecordError, choices
from mam.evaluation.devices import environment
from mam.evaluation.inputs import Inputs
from mam.evaluation.workbench import Workbench
from mam.records.parts import Environment
from mam.records.reading import BASELINE, of_draw, read_config, read_predictions, read_result
from mam.records.result import RunResult, plain
from mam.records.validity import AGAIN
from mam.runs.record import extensions_record

OWN, PLUGINS = Path(".hydra") / "own", Path(".hydra") / "plugins"
# Where a run went and how it was started; these are not part of what it computed.
PLACES = ("outputs", "cache_dir", "track", "train.report_to", "force", "plugins", "launch")


@dataclass(frozen=True)
class Recorded:
    """A recorded run: its folder and result, and the words and the search path that compose it again."""

    folder: Path
    result: RunResult
    words: list[str]
    search: SearchPath


def recorded(folder: Path, words: Sequence[str]) -> Recorded:
    """Return what composes a recorded run again, with further ``words``, the last of which win.

    The user's own configurations are taken from the copies in the folder. Its plug-ins are code, which is not run
    because a record names it: ``words`` must name them.

    Raises:
        RecordError: The folder is no finished run, or does not say how it was started.
        ConfigError: The run used plug-ins that ``words`` do not name.
    """
    result = read_result(folder)
    read_predictions(folder)  # checked, since the new ones are compared with them
    try:
        command = shlex.split(result.command)
    except ValueError as error:
        raise RecordError(f"{folder}: the recorded command cannot be read ({error}). {AGAIN}") from error
    if command[:2] != ["mam", "run"]:
        raise RecordError(f"{folder}: the recorded command is not `mam run`. {AGAIN}")
    flags = [word for word in command[2:] if word.startswith(("-", "hydra.searchpath="))]
    own = [word for word in command[2:] if word not in flags and not word.startswith(PLACES)]
    is_named = any(word.startswith("plugins=") for word in words)
    plugins = (
        [plugin.name for plugin in result.extensions.plugins if plugin.version is None] if result.extensions else []
    )
    if plugins and not is_named:
        copies = sorted(str(path) for path in (folder / PLUGINS).glob("*"))
        raise ConfigError(
            f"{folder}: used the plug-ins {choices(plugins)}. If you trust them, set plugins=[...]; copies:"
            f" {choices(copies)}"
        )
    search = SearchPath((f"{FILE}{folder / OWN}",)) if (folder / OWN).is_dir() else split_search([])[0]
    return Recorded(folder, result, [*own, *([] if is_named else ["plugins=[]"]), *words, "force=true"], search)


def differences(run: Recorded, job: Job, inputs: Inputs) -> list[str]:
    """Return in what the run as it would be made now differs from the record, one phrase each; none if in nothing.

    Raises:
        DataError, CheckpointError: The data or a checkpoint cannot be found.
    """
    result, config, bench = run.result, job.config, Workbench.of(inputs)
    found = list(_of_environment(result.env, environment(config), has_threads=config.threads is not None))
    recorded = result.model.parents
    for role, checkpoint in bench.parents(config).named:
        before = recorded[role].sha256 if role in recorded else checkpoint.sha256
        if before != checkpoint.sha256:
            found.append(f"model.{role}: different weights (SHA-256 {before[:12]}, now {checkpoint.sha256[:12]})")
    data = bench.audio(config).corpus.sha256
    if data != result.data.sha256:
        found.append(f"data: different metadata or recordings (SHA-256 {result.data.sha256[:12]}, now {data[:12]})")
    now = extensions_record(job)
    before_plugins = {plugin.name: plugin.sha256 for plugin in result.extensions.plugins} if result.extensions else {}
    plugins = {plugin.name: plugin.sha256 for plugin in now.plugins} if now else {}
    if sorted(before_plugins.values()) != sorted(plugins.values()):
        found.append(
            f"plug-ins: {choices(list(before_plugins))}, now {choices(list(plugins))}, or their code has changed"
        )
    return found + list(_of_settings(run, job))


def _of_environment(before: Environment, now: Environment, has_threads: bool) -> Iterator[str]:
    """Yield what differs; with ``has_threads`` the configuration sets their number."""
    if before.code is None or now.code is None or before.code.sha256 != now.code.sha256:
        yield "mam's code: a different version"
    for name in (field.name for field in fields(Environment)):
        was, is_now = getattr(before, name), getattr(now, name)
        if name != "code" and was != is_now and not (has_threads and name == "threads"):
            yield f"{name}: {was}, now {is_now}"


def _of_settings(run: Recorded, job: Job) -> Iterator[str]:
    """Yield the settings that differ, by key."""
    before, now = (flat(plain(config)) for config in (read_config(run.folder), job.config))
    settled = ("model.language", "data.language", "data.normalizer", "data.metric")  # decided by the run
    for key in sorted(before.keys() | now.keys()):
        if not key.startswith((*PLACES, *settled, "study", "threads")) and before.get(key) != now.get(key):
            yield f"{key}: {before.get(key)}, now {now.get(key)}"


def unequal(first: Path, second: Path) -> int:
    """Return how many lines of predictions differ between two finished runs, of all draws and of the baseline."""
    draws = [of_draw(draw) for draw in range(read_result(first).merge.draws)]
    count = 0
    for name in (*draws, BASELINE):
        lines = [
            (folder / name).read_bytes().splitlines() if (folder / name).is_file() else [] for folder in (first, second)
        ]
        count += sum(a != b for a, b in zip(*lines, strict=False)) + abs(len(lines[0]) - len(lines[1]))
    return count
