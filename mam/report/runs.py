"""One finished run as a report has it: everything in it that is shown can be read, or it is refused by its name."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from mam.errors import RecordError
from mam.files import sha256_json
from mam.records.reading import read_predictions, read_result, sources_of
from mam.records.validity import AGAIN
from mam.report.lambdas import read_course
from mam.report.plots import metric_key
from mam.report.tables import arm_text, lambda_text, layers_text, merged_layers, plain_id
from mam.tasks import TASKS


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
            "code": sources_of(result)[:8] or "not recorded",
        }


def read_run(folder: Path) -> Run:
    """A finished run of which everything that a report shows can be read.

    Raises:
        MamError: its result, configuration, predictions, λ or confusions cannot be read; says why.
    """
    run = Run(folder, _told(read_result(folder)))
    read_predictions(folder, TASKS[run.result["task"]].REQUIRED)
    train = run.result["train"]
    if train and train["name"] == "lmam":
        read_course(folder)
    if run.result["task"] == "events":
        for name in ("confusion.csv", "confusion-baseline.csv"):
            _refuse_broken_confusion(folder / name)
    return run


def _refuse_broken_confusion(path: Path) -> None:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            heading, *rows = list(csv.reader(file))
        is_square = [row[0] for row in rows] == heading[1:] and all(len(row) == len(heading) for row in rows)
        if not is_square or any(int(count) < 0 for row in rows for count in row[1:]):
            raise ValueError("it has not a count for every two classes")
    except (OSError, ValueError, IndexError, csv.Error) as error:
        raise RecordError(f"{path}: cannot be read ({error}). {AGAIN}") from error


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


def _parts_text(merge: Mapping[str, Any]) -> str:
    """The parts that were merged, and of which others they are all that a control takes."""
    merged, asked = merge["parts"], merge.get("parts_asked", merge["parts"])
    return str(merged if merged == asked else f"{merged} of {asked}")
