"""Kaldi's data folders: ``wav.scp`` (recordings), ``text`` (transcripts) and ``utt2spk`` (speakers).

https://kaldi-asr.org/doc/data_prep.html. ``wav.scp`` may only name files. Commands, offsets into archives and
``segments`` are refused: mam runs no command that stands in data, and reads whole recordings.
"""

from __future__ import annotations

import re
from pathlib import Path

from mam.data.listing import SPLITS, Example, Listing, data_format, lines_of
from mam.data.splits import split_of
from mam.errors import DataError, bullets

DOWNLOAD = (
    "It needs a Kaldi data folder with wav.scp and text (and utt2spk for speakers), or one such folder for each of"
    " train, dev and test."
)


@data_format("kaldi", DOWNLOAD, __doc__)
def list_kaldi(root: Path) -> Listing:
    """List the utterances in the order of ``text``.

    Of several folders in ``root``, each belongs to the split that its name begins with, or to none. Utterances of
    ``wav.scp`` without a text are counted as left out. A relative path in ``wav.scp`` is looked for below the data
    folder, below ``root``, and in the working directory as Kaldi does.

    Raises:
        DataError: Files are missing, ``segments`` is there, folders share utterances, or lines are unusable (all
            of them are listed).
    """
    if (root / "wav.scp").is_file():
        folders: list[tuple[Path, str | None]] = [(root, None)]
        rule = "no splits: a single Kaldi folder"
    else:
        names = sorted(path.parent.name for path in root.glob("*/wav.scp"))
        parts = {split: [name for name in names if split_of(name) == split] for split in (*SPLITS, None)}
        folders = [(root / name, split) for split, some in parts.items() for name in some]
        rule = "Kaldi folders: " + ", ".join(
            f"{' and '.join(some)} not in any split" if split is None else f"{split} is {' and '.join(some)}"
            for split, some in parts.items()
            if some
        )
    if not folders:
        raise DataError(f"data.root={root}: has no wav.scp, nor folders train, dev or test with one. {DOWNLOAD}")
    rows: list[Example] = []
    left_out: list[tuple[str, str]] = []
    problems: list[str] = []
    folder_of: dict[str, Path] = {}
    for folder, split in folders:
        made = _utterances(folder, split, root, problems, left_out)
        again = next((row.id for row in made if row.id in folder_of), None)
        if again is not None:
            problems.append(
                f"{folder}: has utterances that are also in {folder_of[again]}, such as {again}. Read only one folder,"
                f" with data.root={folder} data.split=all, or move one of the two away"
            )
        folder_of |= {row.id: folder for row in made}
        rows += made
    if problems:
        raise DataError(bullets(problems))
    if not rows:
        raise DataError(f"{', '.join(str(folder / 'text') for folder, _ in folders)}: has no lines. {DOWNLOAD}")
    return Listing(rows, rule, tuple(left_out), is_anywhere=True)


def _utterances(
    folder: Path, split: str | None, root: Path, problems: list[str], left_out: list[tuple[str, str]]
) -> list[Example]:
    if (folder / "segments").exists():
        raise DataError(
            f"{folder / 'segments'}: mam reads only whole recordings. Cut them first, e.g. with Kaldi's"
            " utils/data/extract_wav_segments_data_dir.sh, and use the new folder."
        )
    recordings = _pairs(folder / "wav.scp", problems)
    texts = _pairs(folder / "text", problems)
    has_speakers = (folder / "utt2spk").is_file()
    speakers = _pairs(folder / "utt2spk", problems) if has_speakers else {}
    paths = {}
    for name, (value, place) in recordings.items():
        problem = _no_file(value)
        if problem:
            problems.append(f"{place}: {name}: {problem}")
        else:
            paths[name] = _located(value, folder, root)
    rows = []
    for name, (text, place) in texts.items():
        if name not in recordings:
            problems.append(f"{place}: {name} is missing from {folder / 'wav.scp'}")
        elif has_speakers and not speakers.get(name, ("", ""))[0]:
            problems.append(f"{place}: {name} is missing from {folder / 'utt2spk'}")
        elif name in paths:
            speaker = speakers[name][0] if has_speakers else None
            rows.append(Example(name, paths[name], text, place, split=split, speaker=speaker))
    left_out += [(name, f"{name}: is missing from {folder / 'text'}") for name in recordings if name not in texts]
    return rows


def _pairs(path: Path, problems: list[str]) -> dict[str, tuple[str, str]]:
    """Return the value and the place of each key; keys that occur twice are added to ``problems``."""
    if not path.is_file():
        raise DataError(f"{path}: there is no such file. {DOWNLOAD}")
    pairs: dict[str, tuple[str, str]] = {}
    for number, line in lines_of(path):
        name, _, value = re.sub(r"\s", " ", line.strip()).partition(" ")
        place = f"{path}, line {number}"
        if name in pairs:
            problems.append(f"{place}: {name} was already used in line {pairs[name][1].rpartition(' ')[2]}")
        elif name:
            pairs[name] = (value.strip(), place)
    return pairs


def _no_file(value: str) -> str | None:
    """Return why an entry of ``wav.scp`` names no file; see https://kaldi-asr.org/doc/io.html."""
    if not value:
        return "has no file name"
    if value.startswith("|") or value.endswith("|"):
        return f"is a command ({value[:60]}), which mam does not run. Write its output to audio files first"
    if value == "-":
        return "is standard input. Write the audio to files first"
    if re.search(r"\.ark:\d+$|:\d+(\[.*\])?$", value):
        return f"is an offset into an archive ({value[:60]}). Extract audio files first, e.g. with wav-copy"
    return None


def _located(value: str, folder: Path, root: Path) -> str:
    """Return a path relative to ``root`` if the file lies in it, else as it is or relative to the working directory."""
    for base in (folder, root, Path.cwd()):
        try:
            if (base / value).is_file():
                path = base / value
                return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
        except (OSError, ValueError):  # too long, or contains NUL
            break
    return value
