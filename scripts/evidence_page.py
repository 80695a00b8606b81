"""The page of results that `scripts/evidence.py` writes: summary, tables, pictures, commands, and what was not run."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

from evidence import PAIRS, SOUNDS, STUDIES, WORDS, Study

from mam.terminal import p_text


def copy_pictures(outputs: Path, folder: Path) -> None:
    """Copy the picture of each finished study to where the page shows it."""
    folder.mkdir(parents=True, exist_ok=True)
    for study in STUDIES:
        for path in sorted((outputs / study.name).glob("*/*/study.png"))[-1:]:
            shutil.copyfile(path, folder / picture(study))


def picture(study: Study) -> str:
    """Return the name of a study's picture on the page."""
    return f"evidence-{study.name}.png"


def page(outputs: Path) -> str:
    """Return the page of results: a summary, then for each question its tables and command, and what was not run."""
    found = {study: latest(outputs / study.name) for study in STUDIES}
    finished = {study: analysis for study, analysis in found.items() if analysis is not None}
    parts = [
        "# Results on real models and recordings\n",
        *(f"{summary(study, analysis)}\n" for study, analysis in finished.items()),
        *(section(study, analysis, outputs) for study, analysis in finished.items()),
    ]
    lines = [
        f"- {study.question} (`{study.name}`: {models(study)}, {study.data})"
        if study not in finished
        else f"- What the command above leaves out of `{shlex.join(study.words)}` (`{study.name}`)"
        for study in STUDIES
        if study not in finished or words_beside(outputs, study)
    ]
    if lines:
        parts.append("## Not run\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def latest(folder: Path) -> dict[str, Any] | None:
    """Return the analysis of the last finished study in a folder, with λ in what each of its runs varies."""
    found = sorted(folder.glob("*/*/study.json"))
    if not found:
        return None
    analysis: dict[str, Any] = json.loads(found[-1].read_text(encoding="utf-8"))
    for run in analysis["runs"]:
        (path,) = folder.glob(f"*/*/{Path(run['folder']).name}/result.json")  # of this command or of an earlier one
        result = json.loads(path.read_text(encoding="utf-8"))
        lam = {"lam": result["merge"]["asked"]["lam"]}
        run["varied"] = lam | run["varied"] | lam  # first, and as a number
        run["device"] = f"{result['env']['device']} in {result['env']['dtype']}"
    lams = {run["varied"]["lam"] for run in analysis["runs"]}
    for comparison in [*analysis["comparisons"], *analysis["rivals"]]:
        if len(lams) == 1:  # a study does not repeat what all of its runs share
            comparison["where"] = {"lam": min(lams)} | comparison["where"]
    return analysis


def summary(study: Study, analysis: dict[str, Any]) -> str:
    """Return what a study found in a sentence or two: the source and zeros at the largest λ, and the conclusion."""
    largest = max(run["varied"]["lam"] for run in analysis["runs"])
    at = {run["varied"]["control"]: run for run in reversed(analysis["runs"]) if run["varied"]["lam"] == largest}
    source, zeros = at["none"], at["shrink"]
    beside = "".join(f" {key}={value}" for key, value in source["varied"].items() if key not in ("lam", "control"))
    said = [sentence for sentence in (analysis["conclusion"], analysis["rivalry"]) if sentence]
    return (
        f"**{study.question}** Merging {models(study)} at λ={largest:g}{beside} changes {rate_name(study)} on"
        f" {size(source)} by {change(source['delta'])}; zeros in the source's place change it by"
        f" {change(zeros['delta'])}."
        f" {' '.join(f'{sentence[0].upper()}{sentence[1:]}.' for sentence in said)}"
    )


def section(study: Study, analysis: dict[str, Any], outputs: Path) -> str:
    """Return one question with its tables and its command."""
    start = ["python", "scripts/evidence.py", "--real", "REAL", "--more", "MORE", study.name]
    command = shlex.join([*start, *words_beside(outputs, study)])
    runs = [run for run in analysis["runs"] if run["delta"] is not None]
    key, baseline = ("error" if study.data == SOUNDS else "wer"), runs[0]["baseline"]
    counted = f"{baseline['words']:,} words" if "words" in baseline else size(runs[0])
    merges = [
        f"| {place(run['varied'])} | {100 * run['metrics'][key]:.2f} | {points(run['delta']['absolute'])} |"
        f" {interval(run['delta'])} | {changed(run['delta'])} |"
        for run in runs
    ]
    comparisons = ["| " + " | ".join(cells(one)) + " |" for one in [*analysis["comparisons"], *analysis["rivals"]]]
    return "\n".join(
        [
            f"## {study.question}",
            "",
            f"{models(study)}, {study.data}, {size(runs[0])}; {rate_name(study)} of the unmerged target is"
            f" {100 * baseline[key]:.2f} % of {counted}. Differences are in percentage points, with"
            f" intervals at 95 % ({runs[0]['delta']['test']}). Computed on {runs[0]['device']}.",
            "",
            f"![Change of {rate_name(study)} by each merge, with 95 % intervals](img/{picture(study)})",
            "",
            f"| merge | {'error' if study.data == SOUNDS else 'WER'} % | Δ to λ=0 | 95 % | utterances |",
            "|---|---|---|---|---|",
            *merges,
            "",
            "| at | source minus | Δ | 95 % | p after Holm | utterances |",
            "|---|---|---|---|---|---|",
            *comparisons,
            "",
            "```sh",
            command,
            "```",
            "",
        ]
    )


def words_beside(outputs: Path, study: Study) -> list[str]:
    """Return the further words of the last command of a study."""
    path = outputs / study.name / WORDS
    return shlex.split(path.read_text(encoding="utf-8")) if path.is_file() else []


def rate_name(study: Study) -> str:
    """Return what a study measures."""
    return "the error rate" if study.data == SOUNDS else "the word error rate"


def models(study: Study) -> str:
    """Return the models of a study by the names of their folders, source first."""
    _, target, source = PAIRS[study.pair]
    return f"{Path(source).name} into {Path(target).name}"


def size(run: dict[str, Any]) -> str:
    """Return the number of recordings of a run."""
    return f"{run['delta']['clusters']} recordings"


def cells(comparison: dict[str, Any]) -> list[str]:
    """Return the cells of one comparison; with fewer than 6 changed utterances no p can be small."""
    difference = comparison["difference"]
    p = "few changed" if difference["changed"] < 6 else p_text(comparison["p_holm"])
    own = (points(difference["absolute"]), interval(difference), p, changed(difference))
    return [place(comparison["where"]), f"`{comparison['control']}`", *own]


def place(varied: dict[str, Any]) -> str:
    """Return what is varied, in the words of the command."""
    return " ".join(f"`{key}={value}`" for key, value in varied.items())


def change(difference: dict[str, Any]) -> str:
    """Return a difference with its interval, in words."""
    return f"{points(difference['absolute'])} points, {interval(difference)}"


def points(share: float) -> str:
    """Return a difference of rates in percentage points."""
    return f"{100 * share:+.2f}".replace("-", "\u2212")


def interval(difference: dict[str, Any]) -> str:
    """Return the interval of a difference in percentage points."""
    ends = difference["ci95"]
    return "–" if ends is None else f"[{points(ends[0])}, {points(ends[1])}]"


def changed(difference: dict[str, Any]) -> str:
    """Return how many utterances got better and worse."""
    return f"{difference['better']} better, {difference['worse']} worse of {difference['clusters']}"
