"""LibriSpeech in its official layout: ``<subset>/<reader>/<chapter>/`` with FLAC files and one ``*.trans.txt``."""

from __future__ import annotations

from pathlib import Path

from mam.data.listing import Example, Listing, data_format, lines_of
from mam.errors import DataError, bullets

SUBSETS = {"train": "train", "dev": "dev", "test": "test"}  # prefix of a subset's name -> split
DOWNLOAD = (
    "LibriSpeech is at https://www.openslr.org/12 (CC BY 4.0; test-clean.tar.gz has 346 MB). Unpack it and set"
    " data.root=FOLDER/LibriSpeech, or put it under $MAM_DATA (default ./data)."
)


@data_format("librispeech", DOWNLOAD, __doc__)
def list_librispeech(root: Path) -> Listing:
    """List the rows sorted by id; readers are clusters, and the split is that of the subset.

    ``root`` is the folder with the subsets (test-clean, test-other, ...) or a single subset. Several test or dev
    subsets below it are combined; name a single one as the root to keep them apart.

    Raises:
        DataError: There is no transcript file, or lines have no text (all of them are listed).
    """
    transcripts = sorted(root.rglob("*.trans.txt"))
    if not transcripts:
        raise DataError(f"data.root={root}: has no *.trans.txt in any folder. {DOWNLOAD}")
    rows, problems = [], []
    for path in transcripts:
        subset = path.parents[2].name
        split = next((split for prefix, split in SUBSETS.items() if subset.startswith(prefix)), None)
        for number, line in lines_of(path, root):
            if not line.strip():
                continue
            name, _, text = line.partition(" ")
            place = f"{path}, line {number}"
            if not text.strip():
                problems.append(f"{place}: has no text after the id {name!r}")
                continue
            audio = (path.parent / f"{name}.flac").relative_to(root)
            rows.append(Example(name, str(audio), text, place, split=split, speaker=name.split("-")[0]))
    if problems:
        raise DataError(bullets(problems))
    subsets = sorted({path.parents[2].name for path in transcripts})
    return Listing(sorted(rows, key=lambda row: row.id), f"LibriSpeech's own subsets: {', '.join(subsets)}")
