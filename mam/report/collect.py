"""Finished runs below some folders: grouped by what may be compared, what is unusable counted and named."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mam.errors import RecordError
from mam.files import sha256_json
from mam.finished import RESULT, read_result
from mam.report.plots import metric_key
from mam.report.tables import TITLES, arm_text, lambda_text, layers_text, merged_layers, plain_id
from mam.scoring.significance import holm
from mam.studies.evidence import Merged

UNNAMED = 10  # how many unusable folders are named; the rest is counted


@dataclass(frozen=True)
class Run:
    """A finished run and what distinguishes it, by the names of the columns."""

    folder: Path
    result: Mapping[str, Any]

    @property
    def metric(self) -> str:
        """The metric that is compared."""
        return metric_key(self.result)

    @property
    def is_merged(self) -> bool:
        """Whether anything of a source is in it."""
        return any(self.result["merge"]["lam"])

    @property
    def is_learnt(self) -> bool:
        """Whether λ is what came out of it, on dev or by training, and not what went in."""
        train = self.result["train"]
        return self.result["tune"] is not None or bool(train and train["name"] == "lmam")

    @property
    def but_for_control(self) -> str:
        """Equal for runs that differ in nothing but their control and what follows from it."""
        return sha256_json([self.but_for_control_and_align, self.traits["align"]])

    @property
    def but_for_control_and_align(self) -> str:
        """Equal for runs that differ in nothing but their control, their alignment and what follows from them."""
        merge, train = self.result["merge"], self.result["train"]
        lams = (train or {}).get("lam_at_start") or (None if self.is_learnt else merge["lam"])
        same = {
            key: merge.get(key)
            for key in ("method", "layers", "pairing", "project", "bias", "heads", "alpha", "calibration")
        }
        names = ("source", "method", "tuned", "seed", "code")
        return sha256_json(
            [same, lams, train and train["settings"], [self.traits[name] for name in names], self._parts]
        )

    @property
    def _parts(self) -> str:
        """What was asked for; controls of softer attention or of values alone merge less of it.

        Old results do not say it: what such a control merged is then taken for a part of qkv.
        """
        merge = self.result["merge"]
        known = merge["parts"] if self.traits["control"] not in ("shrink_qk", "shrink_v") else "qkv"
        return str(merge.get("parts_asked", known))

    @cached_property
    def traits(self) -> dict[str, str]:
        """What was done to which models, in words."""
        merge, train, result = self.result["merge"], self.result["train"], self.result
        tune = result["tune"]
        return {
            "target": plain_id(result["model"]["target"]["id"]),
            "source": plain_id(result["model"]["source"]["id"]),
            "method": arm_text(result).split(" λ")[0],
            "lam": lambda_text(result) if self.is_merged else "0",
            "layers": layers_text(merged_layers(merge), len(merge["lam"])).removeprefix("layers "),
            "parts": _parts_text(merge) + ("" if merge["bias"] else ", no biases"),
            "heads": "all" if merge.get("heads") is None else ",".join(map(str, merge["heads"])),
            "mixed by": merge["method"],
            "pairing": merge["pairing"],
            "align": merge.get("align", "none"),
            "project": merge.get("project") or "no",
            "alpha": "" if merge.get("alpha") is None else f"{merge['alpha']:g}",
            "calibrated on": ", ".join(str(value) for value in (merge.get("calibration") or {}).values()),
            "control": merge["control"] if self.is_merged else "none",
            "tuned": tune["name"] if tune else "no",
            "seed": str(train["settings"].get("seed", result["seeds"].get("training", ""))) if train else "",
            "code": code_of(result)[:8] or "not recorded",
        }


@dataclass(frozen=True)
class Group:
    """Runs on the same examples with the same target, scored in the same way: what may stand in one table."""

    title: str
    runs: list[Run]

    @cached_property
    def varied(self) -> list[str]:
        """The traits in which the runs differ; λ always, and what is merged as soon as anything is."""
        names = list(self.runs[0].traits)
        return [name for name in names if name == "lam" or len({run.traits[name] for run in self.runs}) > 1]

    @cached_property
    def adjusted(self) -> dict[Path, float]:
        """Holm's adjusted p of every run that merged anything, over this group."""
        tried = [run for run in self.runs if run.is_merged]
        p_values = holm([run.result["delta"]["p_value"] for run in tried])
        return {run.folder: p_value for run, p_value in zip(tried, p_values, strict=True)}

    def merged(self) -> list[Merged]:
        """The runs that merged anything, for comparisons of the source with controls."""
        keys = [key for key in self.varied if key != "control"]
        return [
            Merged(
                tuple((key, run.traits[key]) for key in keys if not (key == "lam" and run.is_learnt)),
                run.traits["control"],
                run.folder,
                run.but_for_control,
                run.but_for_control_and_align,
            )
            for run in self.runs
            if run.is_merged
        ]


@dataclass(frozen=True)
class Collected:
    """What was found. ``broken`` are results that cannot be read, with the reason; ``repeated`` counts runs of equal
    hash, of which the newest is kept; ``tables`` are the studies that fill a table of the paper."""

    groups: list[Group]
    unfinished: list[Path]
    broken: list[tuple[Path, str]]
    repeated: int
    tables: list[Mapping[str, Any]]

    @property
    def runs(self) -> list[Run]:
        """All of them."""
        return [run for group in self.groups for run in group.runs]

    @property
    def remarks(self) -> list[str]:
        """What is not in the tables, and why: one sentence each."""
        found = []
        if self.unfinished:
            found.append(f"{len(self.unfinished)} unfinished: {_named([str(path) for path in self.unfinished])}")
        if self.broken:
            found.append(f"{len(self.broken)} unreadable: {_named([reason for _, reason in self.broken])}")
        if self.repeated:
            found.append(f"{self.repeated} repetitions of runs of equal hash are left out; the newest counts")
        if len(self.groups) > 1:
            found.append(f"{len(self.groups)} tables: runs on other data, or of other targets, are not compared")
        return found


def collect(folders: Sequence[Path]) -> Collected:
    """Every run below the folders, however deep.

    Raises:
        RecordError: a folder that is not there, or no finished run in any of them.
    """
    for folder in folders:
        if not folder.is_dir():
            raise RecordError(f"{folder}: there is no such folder.")
    found: dict[str, Run] = {}
    broken, repeated = [], 0
    paths = {path for folder in folders for path in folder.rglob(RESULT)}
    for path in sorted(paths, key=lambda path: (path.stat().st_mtime, path)):
        try:
            run = Run(path.parent, _told(read_result(path.parent)))
        except RecordError as error:
            broken.append((path, str(error)))
            continue
        repeated += run.result["hash"] in found
        found[run.result["hash"]] = run
    begun = {path.parent for folder in folders for path in folder.rglob(".hydra") if path.is_dir()}
    unfinished = sorted(path for path in begun if not (path / RESULT).exists())
    if not found:
        what = f"; {len(unfinished)} unfinished, {len(broken)} unreadable" if unfinished or broken else ""
        reasons = "".join(f"\n  - {reason}" for _, reason in broken[:UNNAMED])
        raise RecordError(f"{', '.join(map(str, folders))}: no finished run is in there{what}.{reasons}")
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in found.values():
        groups.setdefault(_comparable(run), []).append(run)
    made = [Group(_title(runs[0]), sorted(runs, key=_order)) for runs in groups.values()]
    return Collected(made, unfinished, broken, repeated, _tables(folders, broken))


def _parts_text(merge: Mapping[str, Any]) -> str:
    """The parts that were merged, and of which others they are all that a control takes."""
    merged, asked = merge["parts"], merge.get("parts_asked", merge["parts"])
    return str(merged if merged == asked else f"{merged} of {asked}")


def code_of(result: Mapping[str, Any]) -> str:
    """The hash of mam's sources that made a result, "" where it is of a version that recorded none."""
    code = result["env"].get("code", "")
    return str(code if isinstance(code, str) else code["sha256"])


def _told(result: dict[str, Any]) -> dict[str, Any]:
    """The result with its environment in words and numbers alone, for a list of them."""
    env = dict(result["env"])
    code = env.get("code")
    if code is None:
        return result
    env["code"] = code["sha256"]
    if code["commit"]:
        state = {True: ", changed", False: "", None: ", changed or not"}[code["dirty"]]
        env["commit"] = code["commit"][:12] + state
    return result | {"env": env}


def _tables(folders: Sequence[Path], broken: list[tuple[Path, str]]) -> list[Mapping[str, Any]]:
    """The newest of each study that fills a table of the paper."""
    found: dict[str, Mapping[str, Any]] = {}
    for path in sorted({path for folder in folders for path in folder.rglob("table.json")}):
        try:
            table = dict(json.loads(path.read_text(encoding="utf-8")))
            texts = [
                table["title"],
                table["note"],
                *table["headings"],
                *(cell for row in table["rows"] for cell in row),
            ]
            if table["name"] not in TITLES or not all(isinstance(text, str) for text in texts):
                raise ValueError("is no table of mam")
            found[table["name"]] = table
        except (OSError, ValueError, TypeError, KeyError) as error:
            broken.append((path, f"{path}: cannot be read ({error})"))
    return list(found.values())


def _comparable(run: Run) -> tuple[Any, ...]:
    result, data = run.result, run.result["data"]
    head = (result.get("head") or {}).get("name")
    target = result["model"]["target"]["sha256"]
    return result["task"], target, data["name"], data["split"], data["sha256"], data["normalizer"], head, data["n"]


def _title(run: Run) -> str:
    result, data = run.result, run.result["data"]
    head = f", {result['head']['name']}" if result.get("head") else ""
    return (
        f"{plain_id(result['model']['target']['id'])} on {data['name']}, {data['split']} ({data['n']} examples){head}"
    )


def _order(run: Run) -> tuple[Any, ...]:
    merge = run.result["merge"]
    is_trained = bool(run.result["train"])
    return (
        is_trained,
        run.traits["method"],
        len(merged_layers(merge)),
        merge["layers"],
        sum(merge["lam"]),
        merge["control"],
    )


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - UNNAMED} more" if len(names) > UNNAMED else ""
    return "; ".join(names[:UNNAMED]) + more
