"""The studies on real models and recordings, one question each; `make evidence` starts and resumes them.

    python scripts/evidence.py --real FOLDER --more FOLDER            # all of them, hours on two cores
    python scripts/evidence.py --real FOLDER --more FOLDER content    # one question
    python scripts/evidence.py --real FOLDER --more FOLDER --table docs/results.md   # write what is finished

``--real`` holds ``models/whisper-tiny.en``, ``models/all-MiniLM-L6-v2`` and ``LJSpeech-1.1``; ``--more`` holds
``whisper-base``, ``all-mpnet`` and the folders ``prompts-en`` and ``prompts-it`` with a ``metadata.csv``. Finished runs
are not repeated, so that the same command goes on where it was stopped. Further words, such as ``data.limit=20``, are
added to every study.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mam.terminal import p_text

ROOT = Path(__file__).parents[1]
WORDS = "words.txt"  # beside the runs of a study: the further words of its last command
CONTENT = (
    "experiment=controls",
    "study.axes.lam=[0.05,0.1]",
    "study.axes.control=[none,shrink,random_spectrum,rotate,shuffle_layers]",
)
FITTED = (  # for sources of another width: noise that is projected as they are is their fair control
    "experiment=controls",
    "study.axes.lam=[0.05,0.1]",
    "study.axes.control=[none,shrink,aligned_random,shuffle_layers]",
)
LAM = ("study.axes.lam=[0.1]",)


@dataclass(frozen=True)
class Study:
    """A study that answers a question on one pair and one set of recordings."""

    name: str
    question: str
    pair: str
    data: str
    words: tuple[str, ...]


PAIRS = {
    "tiny_minilm": ("model=whisper_minilm", "models/whisper-tiny.en", "models/all-MiniLM-L6-v2"),
    "base_minilm": ("model=whisper_base_minilm", "whisper-base", "models/all-MiniLM-L6-v2"),
    "base_mpnet": ("model=whisper_base_minilm", "whisper-base", "all-mpnet"),
}
STUDIES = (
    Study("content", "Does the source's content matter?", "tiny_minilm", "english", CONTENT),
    Study("depth", "Does it at equal depth?", "base_minilm", "english", FITTED),
    Study("size", "Does that of a larger source?", "base_mpnet", "english", (*FITTED, "pairing=proportional")),
    Study("language", "Does it in another language?", "base_minilm", "italian", FITTED),
    Study("alignment", "Does alignment matter?", "tiny_minilm", "english", (*LAM, "experiment=alignment")),
    Study("rivals", "Does the way of mixing matter?", "tiny_minilm", "english", (*LAM, "experiment=rivals")),
)


def main() -> int:
    """Run the studies that are named, or write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", type=Path, required=True, help="folder of models and LJ Speech")
    parser.add_argument("--more", type=Path, required=True, help="folder of further models and of prompts")
    parser.add_argument("--outputs", type=Path, default=ROOT / "outputs" / "evidence", help="folder for the runs")
    parser.add_argument("--table", type=Path, help="page to write instead of running")
    parser.add_argument("words", nargs="*", help="names of studies, and words for all of them")
    options = parser.parse_args()
    names = [word for word in options.words if "=" not in word] or [study.name for study in STUDIES]
    unknown = set(names) - {study.name for study in STUDIES}
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: choose among {', '.join(study.name for study in STUDIES)}")
    if options.table:
        copy_pictures(options.outputs, options.table.parent / "img")
        options.table.write_text(page(options.outputs), encoding="utf-8")
        return 0
    codes = [run(study, options) for study in STUDIES if study.name in names]
    return max(codes)


def run(study: Study, options: argparse.Namespace) -> int:
    """Start or resume one study; return its exit code."""
    command = words_of(study, options)
    extra = [word for word in options.words if "=" in word]
    (options.outputs / study.name).mkdir(parents=True, exist_ok=True)
    (options.outputs / study.name / WORDS).write_text(shlex.join(extra), encoding="utf-8")
    print(shlex.join(["mam", *command]), flush=True)
    return subprocess.run([sys.executable, "-m", "mam", *command], check=False).returncode


def words_of(study: Study, options: argparse.Namespace) -> list[str]:
    """Return the words of ``mam`` for a study."""
    model, target, source = PAIRS[study.pair]
    folders = [
        next(root / name for root in (options.real, options.more) if (root / name).is_dir())
        for name in (target, source)
    ]
    data = recordings(study.data, options)
    return [
        "run", model, f"model.target={folders[0].resolve()}", f"model.source={folders[1].resolve()}",
        *(f"model.{side}_shape.{key}=null" for side in ("target", "source") for key in ("layers", "width", "heads")),
        "data=audiofolder", f"data.root={data}", "data.split=all", f"data.name={study.data}",
        f"data.language={study.data}", *study.words, f"outputs={options.outputs / study.name}",
        *(word for word in options.words if "=" in word),
    ]  # fmt: skip


def recordings(language: str, options: argparse.Namespace) -> Path:
    """Return a folder with all recordings of a language; in English the prompts and LJ Speech together."""
    prompts: Path = options.more / f"prompts-{ {'english': 'en', 'italian': 'it'}[language] }"
    if language != "english":
        return prompts.resolve()
    folder: Path = (options.outputs / "english").resolve()
    if (folder / "metadata.csv").is_file():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with (prompts / "metadata.csv").open(encoding="utf-8", newline="") as file:
        rows = [(prompts / row["file_name"], row["transcription"]) for row in csv.DictReader(file)]
    lines = (options.real / "LJSpeech-1.1" / "metadata.csv").read_text(encoding="utf-8").splitlines()
    rows += [
        (options.real / "LJSpeech-1.1" / "wavs" / f"{name}.wav", text)
        for name, _, text in (line.split("|") for line in lines)
    ]
    for path, _ in rows:
        shutil.copyfile(path, folder / path.name)
    with (folder / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("file_name", "transcription"), *((path.name, text) for path, text in rows)])
    return folder


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
    said = [sentence for sentence in (analysis["conclusion"], analysis["rivalry"]) if sentence]
    return (
        f"**{study.question}** Merging {models(study)} at λ={largest:g} changes the word error rate on {size(source)}"
        f" by {change(source['delta'])}; zeros in the source's place change it by {change(zeros['delta'])}."
        f" {' '.join(f'{sentence[0].upper()}{sentence[1:]}.' for sentence in said)}"
    )


def section(study: Study, analysis: dict[str, Any], outputs: Path) -> str:
    """Return one question with its tables and its command."""
    start = ["python", "scripts/evidence.py", "--real", "REAL", "--more", "MORE", study.name]
    command = shlex.join([*start, *words_beside(outputs, study)])
    runs = [run for run in analysis["runs"] if run["delta"] is not None]
    baseline = runs[0]["baseline"]
    merges = [
        f"| {place(run['varied'])} | {100 * run['metrics']['wer']:.2f} | {points(run['delta']['absolute'])} |"
        f" {interval(run['delta'])} | {changed(run['delta'])} |"
        for run in runs
    ]
    comparisons = ["| " + " | ".join(cells(one)) + " |" for one in [*analysis["comparisons"], *analysis["rivals"]]]
    return "\n".join(
        [
            f"## {study.question}",
            "",
            f"{models(study)}, {study.data}, {size(runs[0])}; the unmerged target has a word error rate of"
            f" {100 * baseline['wer']:.2f} % of {baseline['words']:,} words. Differences are in percentage points, with"
            f" intervals at 95 % ({runs[0]['delta']['test']}). Computed on {runs[0]['device']}.",
            "",
            f"![Change of the word error rate by each merge, with 95 % intervals](img/{picture(study)})",
            "",
            "| merge | WER % | Δ to λ=0 | 95 % | utterances |",
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


if __name__ == "__main__":
    sys.exit(main())
