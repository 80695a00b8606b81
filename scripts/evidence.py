"""The studies on real models and recordings, one question each; `make evidence` starts and resumes them.

    python scripts/evidence.py --real FOLDER --more FOLDER            # all of them, hours on two cores
    python scripts/evidence.py --real FOLDER --more FOLDER content    # one question
    python scripts/evidence.py --real FOLDER --more FOLDER --table docs/results.md   # write what is finished

``--real`` holds ``models/whisper-tiny.en``, ``models/all-MiniLM-L6-v2``, ``LJSpeech-1.1`` and ``ESC-50-master``;
``--more`` holds ``whisper-base``, ``all-mpnet`` and the folders ``prompts-en`` and ``prompts-it`` with a
``metadata.csv``. Finished runs are not repeated, so that the same command goes on where it was stopped. Further words,
such as ``data.limit=20``, are added to every study.
"""

from __future__ import annotations

import argparse
import csv
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

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
    "tiny_minilm_events": ("model=whisper_minilm_events", "models/whisper-tiny.en", "models/all-MiniLM-L6-v2"),
}
SOUNDS = "sounds"
STUDIES = (
    Study("content", "Does the source's content matter?", "tiny_minilm", "english", CONTENT),
    Study("depth", "Does it matter if both models have equal depth?", "base_minilm", "english", FITTED),
    Study("size", "Does it matter with a larger source?", "base_mpnet", "english", (*FITTED, "pairing=proportional")),
    Study("language", "Does it matter in another language?", "base_minilm", "italian", FITTED),
    Study("sounds", "Does it matter for sounds?", "tiny_minilm_events", SOUNDS, CONTENT),
    Study("layers", "In which layers does merging do harm?", "tiny_minilm", "english", ("experiment=ablation_layers",)),
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
        from evidence_page import copy_pictures, page

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
    return [
        "run", model, f"model.target={folders[0].resolve()}", f"model.source={folders[1].resolve()}",
        *(f"model.{side}_shape.{key}=null" for side in ("target", "source") for key in ("layers", "width", "heads")),
        *data_words(study.data, options), *study.words, f"outputs={options.outputs / study.name}",
        *(word for word in options.words if "=" in word),
    ]  # fmt: skip


def data_words(data: str, options: argparse.Namespace) -> list[str]:
    """Return the words that choose the sounds of ESC-50, or all recordings of a language."""
    if data == SOUNDS:
        return ["data=esc50", f"data.root={(options.real / 'ESC-50-master').resolve()}"]
    folder = recordings(data, options)
    return ["data=audiofolder", f"data.root={folder}", "data.split=all", f"data.name={data}", f"data.language={data}"]


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


if __name__ == "__main__":
    sys.exit(main())
