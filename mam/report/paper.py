"""The paper's tables: what was measured here, and beside it the paper's own relative figure, marked as the paper's."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mam.files import atomic, write_json
from mam.report.files import latex, markdown
from mam.report.layout import fitted
from mam.report.tables import TITLES, metric_of
from mam.scoring.seeds import LEAST_SEEDS
from mam.scoring.wording import COUNTS, counts_cell, read_difference
from mam.studies.execute import Ended
from mam.studies.trainings import FT, against_ft
from mam.terminal import Terminal, interval, percent, points, relative

# Relative changes that the paper reports (Sundar et al., arXiv 2312.14378): of zero-shot MAM against the baseline, of
# L-MAM against FT. Its absolute numbers are not known to us.
PAPER = {
    ("table_asr_zeroshot", "ljspeech"): "-6.70 %",
    ("table_asr_zeroshot", "vctk"): "-1.80 %",
    ("table_aec_zeroshot", "esc50"): "-10.63 %",
    ("table_asr_lmam", "ljspeech"): "-2.70 %",
    ("table_asr_lmam", "vctk"): "-2.90 %",
    ("table_aec_lmam", "esc50"): "-18.42 %",
}
ARMS = {
    "fixed": "best fixed λ",
    "layers": "selected layers",
    "shrink": "control: shrink",
    "random": "control: random",
    "L-MAM-frozen": "L-MAM, λ frozen",
    "L-MAM-random": "control: L-MAM, random",
    "L-MAM-shrink": "control: L-MAM, shrink",
}
HEADINGS = [
    "data",
    "method",
    "λ",
    "rate",
    "Δ points",
    "95 %",
    "relative",
    "95 % relative",
    COUNTS,
    "paper, relative",
]
NOTE = (
    "Rates are WER or classification error; λ chosen on dev, reported on test. The last column is the paper's own"
    " figure, on its own checkpoints; none of it was measured here. Of"
    " trainings the interval is over seeds, on these clips."
)


def is_table(name: str) -> bool:
    """Whether a study fills a table of the paper."""
    return name in TITLES


def paper_table(name: str, ended: Sequence[Ended]) -> dict[str, Any]:
    """``name``, ``title``, ``note``, ``headings`` and ``rows`` of a table, all text."""
    rows = _trained(name, ended) if name.endswith("lmam") else _zero_shot(name, ended)
    failed = sum(end.outcome is None for end in ended)
    note = NOTE + (f" {failed} of {len(ended)} runs failed and are not in it." if failed else "")
    return {"name": name, "title": TITLES[name], "note": note, "headings": HEADINGS, "rows": rows}


def _zero_shot(name: str, ended: Sequence[Ended]) -> list[list[str]]:
    rows: list[list[str]] = []
    for data, some in _by_data(ended).items():
        first = some[0].outcome.result if some[0].outcome else {}
        base = percent(first["baseline"][metric_of(first)[0]])
        rows.append([data, "baseline", "0", base, "", "", "", "", "", ""])
        for end in some:
            assert end.outcome is not None
            result, arm = end.outcome.result, end.job.config.study.arm
            delta, chosen = result["delta"], sorted({one["lam"] for one in result["tune"]["chosen"]})
            lams = f"{chosen[0]:g}" if len(chosen) == 1 else f"{chosen[0]:g} to {chosen[-1]:g}"
            rows.append(
                [
                    data,
                    ARMS.get(arm, arm) + (f" ({end.job.config.layers.spec})" if arm == "layers" else ""),
                    lams,
                    percent(result["metrics"][metric_of(result)[0]]),
                    points(delta["absolute"]),
                    interval(delta["ci95"]),
                    relative(delta["relative"]),
                    _relatives(delta["relative_ci95"]),
                    counts_cell(read_difference(delta)),
                    PAPER.get((name, data), "") if arm == "fixed" else "",
                ]
            )
    return rows


def _trained(name: str, ended: Sequence[Ended]) -> list[list[str]]:
    rows: list[list[str]] = []
    versus = {(one.where.get("data", ""), one.arm): one for one in against_ft(ended) if one.other == FT}
    grouped = _by_data(ended)
    for data, some in grouped.items():
        rates: dict[str, list[float]] = {}
        for end in some:
            assert end.outcome is not None
            result = end.outcome.result
            rates.setdefault(end.job.config.study.arm, []).append(result["metrics"][metric_of(result)[0]])
            before = result["baseline"] if result["baseline"]["kind"] == "unmerged" else None
            if before and not any(row[:2] == [data, "before training"] for row in rows):
                rows.append([data, "before training", "0", percent(before[metric_of(result)[0]]), *[""] * 6])
        mean_ft = float(np.mean(rates.get(FT, [float("nan")])))
        for arm, values in rates.items():
            config = next(end.job.config for end in some if end.job.config.study.arm == arm)
            lam = "learnt" if config.train.name == "lmam" else f"{config.lam:g}"
            row = [data, ARMS.get(arm, arm), lam, f"{percent(float(np.mean(values)))} (n={len(values)})"]
            one = versus.get((data if len(grouped) > 1 else "", arm)) or versus.get((data, arm))
            if one is None:
                rows.append([*row, *[""] * 6])
                continue
            enough = one.ci95 is not None and len(one.seeds) >= LEAST_SEEDS
            ends = one.ci95 if enough and one.ci95 else None
            row += [
                points(one.mean),
                interval(ends) if ends else "too few seeds",
                relative(one.mean / mean_ft if mean_ft else None),
            ]
            row += ["", ""]  # the rate of FT varies over seeds too: its ratio has no interval of this kind
            rows.append([*row, PAPER.get((name, data), "") if arm == "L-MAM" else ""])
    return rows


def _by_data(ended: Sequence[Ended]) -> dict[str, list[Ended]]:
    found: dict[str, list[Ended]] = {}
    for end in ended:
        if end.outcome is not None:
            found.setdefault(end.job.config.data.name, []).append(end)
    return found


def _relatives(ends: Sequence[float | None] | None) -> str:
    return "–" if ends is None else f"[{', '.join(relative(end) for end in ends)}]"


def write_paper_table(table: Mapping[str, Any], folder: Path) -> None:
    """``table.json``, which `mam report` finds, and ``table.md``, ``table.tex``, ``table.csv`` beside it."""
    write_json(folder / "table.json", dict(table))
    with atomic(folder / "table.md") as file:
        file.write(markdown(table["title"], table["headings"], table["rows"]) + f"\n{table['note']}\n")
    with atomic(folder / "table.tex") as file:
        file.write(latex(table["title"], table["headings"], table["rows"]))
    with atomic(folder / "table.csv") as file:
        csv.writer(file, lineterminator="\n").writerows([table["headings"], *table["rows"]])


def show_paper_table(terminal: Terminal, table: Mapping[str, Any]) -> None:
    """The table on a screen: without empty columns, and without those that 80 characters have no room for."""
    rows, heads = table["rows"], table["headings"]
    is_one = len({row[0] for row in rows}) == 1
    places = [i for i in range(len(heads)) if any(row[i] for row in rows) and not (i == 0 and is_one)]
    columns = [(heads[i], "left") for i in places]
    needless = ("95 % relative", COUNTS, "λ", "relative")
    terminal.table(table["title"], fitted(columns, [[row[i] for i in places] for row in rows], needless))
    terminal.say("")
    terminal.say(table["note"])
