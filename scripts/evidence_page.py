"""The page of results that `scripts/evidence.py` writes: summary, tables, pictures, commands, and what was not run."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

from evidence import PAIRS, SOUNDS, STUDIES, WORDS, Study

from mam.scoring.significance import holm
from mam.terminal import p_text

INTRODUCTION = """\
# Results on real models and recordings

This page shows what attention merging did to published models on real recordings. Each study asks one question. It
compares the source with [controls](method.md#controls), which carry no knowledge, and with the unmerged target (λ=0).

- English recordings are spoken prompts together with clips of LJ Speech; Italian recordings are spoken prompts.
- Differences are in percentage points, and negative is better. Brackets contain 95 % intervals. "Better" and "worse"
  count recordings with fewer and with more errors. [Statistics](statistics.md) explains intervals and tests.
- "Zeros" is the control `shrink`: zeros are merged instead of the source.
- A source that was projected or aligned to fit the target must differ from `aligned_random` and `shuffle_layers`, which
  were fitted in the same way ([why](rivals.md#which-control-is-fair-for-an-aligned-source)).
- To repeat a study, run its command. REAL and MORE are folders with the models and recordings, as described at the top
  of `scripts/evidence.py`.
"""
CONTROLS = ("shrink", "random_spectrum", "rotate", "shuffle_layers")  # the source must differ from each of them
FITTED_CONTROLS = ("aligned_random", "shuffle_layers")  # or from these, if it was aligned or projected
LEVEL = 0.05


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
    rows = [f"| [{study.question}](#{anchor(study)}) | {summary(study, found[study])} |" for study in finished]
    parts = [
        INTRODUCTION,
        "\n".join(["## Summary", "", f"| question | {' | '.join(SUMMARY)} |", "|---|---|---|---|---|", *rows, ""]),
        *(section(study, analysis, outputs) for study, analysis in finished.items()),
    ]
    lines = [
        f"- {study.question} (`{study.name}`: {models(study)}, {recordings(study)})"
        if study not in finished
        else f"- `{study.name}` was run in part: the whole study is `{shlex.join(study.words)}`."
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


SUMMARY = ("merge", "source", "zeros", "does the content matter?")


def summary(study: Study, analysis: dict[str, Any]) -> str:
    """Return the cells of a study in the summary: its merge at the largest λ, what source and zeros do, the finding."""
    largest = max(run["varied"]["lam"] for run in analysis["runs"])
    at = {run["varied"]["control"]: run for run in reversed(analysis["runs"]) if run["varied"]["lam"] == largest}
    source, zeros = at["none"], at["shrink"]
    beside = "".join(f", {key}={value}" for key, value in source["varied"].items() if key not in ("lam", "control"))
    merge = f"{models(study)}, λ={largest:g}{beside}"
    answer = "; ".join([finding(analysis)[0], *differing_from_linear(analysis)])
    return " | ".join([merge, change(source["delta"]), change(zeros["delta"]), answer])


def finding(analysis: dict[str, Any]) -> tuple[str, str]:
    """Return whether the content of the source matters, in a word or two and in sentences.

    As in `mam.studies.evidence`: the source must differ in one direction from every control in question, merged in the
    same way. p is the largest of these comparisons, corrected over the places.
    """
    places: dict[str, dict[str, dict[str, Any]]] = {}
    for comparison in analysis["comparisons"]:
        places.setdefault(place(comparison["where"]), {})[comparison["control"]] = comparison["difference"]
    groups: dict[str, list[dict[str, Any]]] = {}
    names: dict[str, None] = {}
    for where, by_control in places.items():
        controls = CONTROLS if set(CONTROLS) <= set(by_control) else FITTED_CONTROLS
        is_unaligned = controls == FITTED_CONTROLS and "`align=none`" in where
        if set(controls) <= set(by_control) and not is_unaligned:
            groups[where] = [by_control[name] for name in controls]
            names |= dict.fromkeys(f"`{name}`" for name in controls)
    if not groups:
        return "cannot tell", "The controls of this study cannot tell whether the source's content matters."
    *first, last = names
    listed = f"{', '.join(first)} and {last}"
    adjusted = holm([largest_p(group) for group in groups.values()])
    passed = [f"{where} (p {p_text(p)})" for where, p in zip(groups, adjusted, strict=True) if p < LEVEL]
    if passed:
        return "yes", f"The source's content matters: at {', '.join(passed)} the source differs from {listed}."
    ends = [end for group in groups.values() for difference in group for end in difference["ci95"] or ()]
    return "no evidence", " ".join(
        [
            "There is no evidence that the source's content matters: the source was not shown to differ from all of"
            f" these controls at any λ. The controls are {listed}.",
            *(
                [f"The intervals of these differences reach from {points(min(ends))} to {points(max(ends))} points."]
                if ends
                else []
            ),
        ]
    )


def largest_p(differences: list[dict[str, Any]]) -> float:
    """Return p of a difference from all controls at once; 1 if the differences have different signs."""
    signs = {difference["absolute"] > 0 for difference in differences}
    return max(difference["p_value"] for difference in differences) if len(signs) == 1 else 1.0


def against_linear(analysis: dict[str, Any]) -> str:
    """Return which methods and alignments differ from linear merging; empty if the study compares none."""
    if not analysis["rivals"]:
        return ""
    differing = [f"{one} without alignment." for one in differing_from_linear(analysis)]
    return " ".join(differing) or "No method or alignment was shown to differ from linear merging without alignment."


def differing_from_linear(analysis: dict[str, Any]) -> list[str]:
    """Return what differs from linear, unaligned merging after Holm's correction."""
    return [
        f"{place(one['where'])} is {'better' if one['difference']['absolute'] < 0 else 'worse'} than linear merging"
        for one in analysis["rivals"]
        if one["p_holm"] < LEVEL
    ]


def section(study: Study, analysis: dict[str, Any], outputs: Path) -> str:
    """Return one question with its finding, tables and command."""
    start = ["python", "scripts/evidence.py", "--real", "REAL", "--more", "MORE", study.name]
    command = shlex.join([*start, *words_beside(outputs, study)])
    runs = [run for run in analysis["runs"] if run["delta"] is not None]
    key, baseline = ("error" if study.data == SOUNDS else "wer"), runs[0]["baseline"]
    counted = f"{baseline['words']:,} words" if "words" in baseline else size(runs[0])
    merges = [
        f"| {place(without_control(run['varied']))} | {merged(run['varied']['control'])} |"
        f" {100 * run['metrics'][key]:.2f} | {points(run['delta']['absolute'])} |"
        f" {interval(run['delta'])} | {changed(run['delta'])} |"
        for run in runs
    ]
    comparisons = ["| " + " | ".join(cells(one)) + " |" for one in [*analysis["comparisons"], *analysis["rivals"]]]
    return "\n".join(
        [
            f"## {study.question}",
            "",
            " ".join(sentence for sentence in (finding(analysis)[1], against_linear(analysis)) if sentence),
            "",
            f"- Merge: {models(study)}",
            f"- Data: {size(runs[0])}, {recordings(study)}",
            f"- {rate_name(study).capitalize()} of the unmerged target: {100 * baseline[key]:.2f} % of {counted}",
            f"- Test: {runs[0]['delta']['test']}",
            f"- Computed on {runs[0]['device']}",
            "",
            f"![Change of the {rate_name(study)} by each merge, with 95 % intervals](img/{picture(study)})",
            "",
            "Each merge against the unmerged target:",
            "",
            f"| at | merged | {'error' if study.data == SOUNDS else 'WER'} % | Δ to λ=0 | 95 % | utterances |",
            "|---|---|---|---|---|---|",
            *merges,
            "",
            "The source against each control:",
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
    return "error rate" if study.data == SOUNDS else "word error rate"


def recordings(study: Study) -> str:
    """Return what the recordings of a study are."""
    return study.data if study.data == SOUNDS else study.data.capitalize()


def anchor(study: Study) -> str:
    """Return the link of a study's heading within the page."""
    return re.sub(r"[^\w -]", "", study.question.lower()).replace(" ", "-")


def merged(control: str) -> str:
    """Return what a run merged into the target: the source, or a control."""
    return "the source" if control == "none" else f"`{control}`"


def without_control(varied: dict[str, Any]) -> dict[str, Any]:
    """Return what is varied besides the control."""
    return {key: value for key, value in varied.items() if key != "control"}


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
