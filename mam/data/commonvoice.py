"""Common Voice as downloaded: ``clips/*.mp3`` and ``train.tsv``, ``dev.tsv``, ``test.tsv`` of one language.

Ardila et al., "Common Voice: A Massively-Multilingual Speech Corpus", LREC 2020.
"""

from __future__ import annotations

from pathlib import Path

from mam.config.data import ColumnsConfig
from mam.data.audiofolder import read_sources
from mam.data.listing import SPLITS, Listing, data_format
from mam.errors import DataError

COLUMNS = ColumnsConfig(audio="path", text="sentence", speaker="client_id")
DOWNLOAD = (
    "Common Voice is at https://commonvoice.mozilla.org/datasets, one archive per language (CC0). Unpack it and set"
    " data.root=FOLDER/LANGUAGE, the folder with clips/ and test.tsv."
)


@data_format("commonvoice", DOWNLOAD, __doc__)
def list_commonvoice(root: Path) -> Listing:
    """List the rows in the order of the tables, with Common Voice's own splits; speakers are ``client_id``.

    Of the tables only train, dev and test are read; ``validated.tsv`` repeats their rows.

    Raises:
        DataError: ``clips/`` or all three tables are missing, a table has other columns or no rows, or lines are broken
            (all of them are listed).
    """
    tables = [(root / f"{split}.tsv", split) for split in SPLITS if (root / f"{split}.tsv").is_file()]
    if not tables or not (root / "clips").is_dir():
        inner = sorted(path.parent.name for path in root.glob("*/clips"))
        hint = f" There is a clips/ in {', '.join(inner)}: give one of these folders." if inner else ""
        raise DataError(
            f"data.root={root}: has no clips/ together with train.tsv, dev.tsv or test.tsv.{hint} {DOWNLOAD}"
        )
    rows, _ = read_sources(tables, COLUMNS, root, root)
    if not rows:
        raise DataError(f"data.root={root}: its tables have no rows. {DOWNLOAD}")
    return Listing(rows, f"Common Voice's own splits: {', '.join(split for _, split in tables)}")
