"""VCTK in its official layouts, 0.92 (``wav48_silence_trimmed``, FLAC) and 0.80 (``wav48``, WAV)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mam.data.listing import Example, Listing, data_format, text_of
from mam.errors import DataError

LAYOUTS = {  # folder with the recordings -> version, suffix of the first microphone's files
    "wav48_silence_trimmed": ("0.92", "_mic1.flac"),
    "wav48": ("0.80", ".wav"),
}
EVERY = 10  # every tenth of the sorted speakers is test, the one before it dev
DOWNLOAD = (
    "VCTK 0.92 is VCTK-Corpus-0.92.zip (11 GB, 110 speakers, CC BY 4.0) from"
    " https://datashare.ed.ac.uk/handle/10283/3443. Unpack it and set data.root=FOLDER with txt/ and"
    " wav48_silence_trimmed/ in it, or put it under $MAM_DATA/VCTK-Corpus-0.92 (default ./data)."
)


@data_format("vctk", DOWNLOAD, __doc__)
def list_vctk(root: Path) -> Listing:
    """List the rows sorted by id, first microphone only; speakers are clusters.

    The split is by speaker: every tenth of the sorted speakers is test, the one before it dev, and the rest train. Some
    prompts are read by all speakers. Train excludes sentences that occur in test or dev, so that none of those is
    learnt. Recordings without a text (all of speaker p315 in 0.92) are counted as left out.

    Raises:
        DataError: Neither layout is found, or no recording has a text.
    """
    layouts = [name for name in LAYOUTS if (root / name).is_dir()]
    if not layouts or not (root / "txt").is_dir():
        raise DataError(
            f"data.root={root}: has no txt/ together with {' or '.join(f'{name}/' for name in LAYOUTS)}. {DOWNLOAD}"
        )
    version, ending = LAYOUTS[layouts[0]]
    rows, without_text = [], []
    for path in sorted((root / layouts[0]).glob(f"*/*{ending}")):
        name, speaker = path.name.removesuffix(ending), path.parent.name
        text = root / "txt" / speaker / f"{name}.txt"
        if text.is_file():
            rows.append(Example(name, str(path.relative_to(root)), text_of(text, root), str(text), speaker=speaker))
        else:
            without_text.append((name, f"{name}: has no text ({text.relative_to(root)})"))
    if not rows:
        raise DataError(f"data.root={root}: has no recordings *{ending} with a text. {DOWNLOAD}")
    rows, rule = split_by_speaker(rows, f"VCTK {version}")
    return Listing(rows, rule, tuple(without_text))


def split_by_speaker(rows: list[Example], name: str) -> tuple[list[Example], str]:
    """Split rows by speaker as `list_vctk` does; return them with their splits, and the rule in words."""
    speakers = sorted({str(row.speaker) for row in rows})
    split_of = {speaker: _split(position) for position, speaker in enumerate(speakers)}
    rows = [replace(row, split=split_of[str(row.speaker)]) for row in rows]
    held_out = {_prompt(row.text) for row in rows if row.split != "train"}
    rows = [replace(row, split=None) if row.split == "train" and _prompt(row.text) in held_out else row for row in rows]
    return rows, (
        f"{name}, by speaker: of {len(speakers)} sorted speakers, every tenth is test and the one before it dev;"
        f" {sum(row.split is None for row in rows)} recordings of prompts that occur in test or dev are not in any"
        " split"
    )


def _split(position: int) -> str:
    return {EVERY - 1: "test", EVERY - 2: "dev"}.get(position % EVERY, "train")


def _prompt(text: str) -> str:
    """Return a sentence without case and punctuation."""
    return " ".join("".join(c for c in text.lower() if c.isalnum() or c.isspace()).split())
