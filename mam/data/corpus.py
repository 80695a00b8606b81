"""The examples of one split, memory-mapped."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mam.config.data import DataConfig
from mam.data.audio import Wave, read
from mam.data.examples import COLUMNS, Examples
from mam.data.listing import SPLITS, Example, Listing, SkippedExample, lines_of, list_folder
from mam.errors import DataError, bullets, choices
from mam.files import inside, local_path, sha256_file, sha256_json

if TYPE_CHECKING:  # datasets takes a second to import, and only copies of the hub need it
    from datasets import Dataset


@dataclass(frozen=True)
class Corpus:
    """The examples that a run evaluates on.

    ``examples`` are memory-mapped, so 100,000 take no memory. Their columns are those of
    `mam.data.listing.Example`: ``id``, ``audio`` (path below ``root``), ``text``, ``speaker``, ``label``, ``origin``,
    ``split``, ``fold`` (null if unknown) and ``index``, the row in ``recordings`` of audio that comes from the hub;
    then further columns of the metadata, as text, by which results can be grouped. For audio events it contains all
    splits and folds, because a head that is tested on one fold is fitted on the others.

    ``problems`` are the unusable lines of the metadata, which are also in ``skipped``. `AudioStore.checked` reports
    them together with the unusable recordings.
    """

    name: str
    split: str
    root: Path
    rule: str
    examples: Examples
    skipped: tuple[SkippedExample, ...]
    recordings: Dataset | None = None
    problems: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.examples)

    def column(self, name: str) -> list[Any]:
        """Return one column as a list."""
        return self.examples.column(name)

    @cached_property
    def ids_sha256(self) -> str:
        """The hash of the ids in their order; it identifies the choice of examples but not their content."""
        return sha256_json(self.column("id"))

    @cached_property
    def sha256(self) -> str:
        """The hash of all metadata except paths and further columns, and of the bytes of every recording.

        The files are read once per process.
        """
        rows = list(self.examples)  # every line is read once
        with ThreadPoolExecutor() as pool:
            contents = list(pool.map(self._content_sha256, rows))
        columns = [[row[name] for row in rows] for name in COLUMNS if name not in ("audio", "index")]
        skipped = [[example.id, example.reason] for example in self.skipped]
        return sha256_json([[*columns, contents], skipped])

    def wave(self, i: int, rate: int) -> Wave:
        """Decode example ``i`` at ``rate`` Hz, float32 ``[samples]``; raises the errors of `mam.data.audio.read`."""
        example = self.examples[i]
        path = self.root / example["audio"]
        if self.recordings is not None:
            from mam.data.hub_rows import recording

            return read(recording(self.recordings, example["index"]), rate, f"{example['id']} ({path})")
        return read(path, rate, str(path))

    def _content_sha256(self, example: Mapping[str, Any]) -> str:
        if self.recordings is not None:
            cell = self.recordings[example["index"]]["recording"] or {}
            return hashlib.sha256(cell.get("bytes") or b"").hexdigest()
        path = self.root / example["audio"]
        try:
            return sha256_file(path)
        except OSError:
            return "unreadable"  # reported when the recording is decoded

    def only(self, positions: Sequence[int]) -> Corpus:
        """Return a corpus of the examples at these positions, in this order."""
        return replace(self, examples=self.examples.select(positions))

    def without(self, bad: Sequence[tuple[int, str]]) -> Corpus:
        """Return a corpus without the examples at these positions; each is added to ``skipped`` with its reason."""
        positions = {i for i, _ in bad}
        ids = self.column("id")
        keep = [i for i in range(len(self)) if i not in positions]
        skipped = (*self.skipped, *(SkippedExample(ids[i], reason) for i, reason in bad))
        return replace(self, examples=self.examples.select(keep), skipped=skipped)


def open_corpus(config: DataConfig, task: str = "asr") -> Corpus:
    """List the data set, select the split (all splits for audio events) and check the metadata, without decoding audio.

    Raises:
        DataError: The folder, metadata, split or id list is unusable; every broken line is listed. Empty transcripts
            and missing recordings are left to `mam.data.store.AudioStore.checked`, unless no usable example remains.
    """
    recordings = None
    if config.source == "hub":
        from mam.data.hub_offline import refuse_offline

        refuse_offline(config.hub)
        from mam.data.hub_rows import list_hub

        root, listing, recordings = list_hub(config, task)
    else:
        root = local_path(str(config.root))
        listing = list_folder(config.format, root, config)
    _refuse_duplicates(listing.rows)
    rows, rule = _select_sounds(listing, config) if task == "events" else _select(listing, config)
    rule = "; ".join(filter(None, (rule, listing.note)))
    good, bad = [], []
    for row in rows:
        problem = _problem(row, root, task, listing.is_anywhere)
        if problem:
            bad.append((row, problem))
        else:
            good.append(row)
    unit = config.clusters
    lacking = [] if unit == "utterance" else [row.id for row in good if getattr(row, unit) is None]
    if lacking:
        raise DataError(f"data.clusters={unit}: {choices(lacking[:5])} have no {unit}. Set data.clusters=utterance.")
    problems = tuple(f"{row.place}: {problem}" for row, problem in bad)
    if not good:
        raise DataError(f"{bullets(problems)}\nThere are no usable examples in split {config.split!r} of {root}.")
    skipped = [SkippedExample(name, reason) for name, reason in listing.left_out]
    skipped += [SkippedExample(row.id, problem) for row, problem in bad]
    return Corpus(config.name, config.split, root, rule, Examples.of(good), tuple(skipped), recordings, problems)


def _problem(row: Example, root: Path, task: str, is_anywhere: bool) -> str | None:
    if task == "asr" and not row.text.strip():
        return f"{row.id}: the transcript is empty"
    if task == "events" and not (row.label or "").strip():
        return f"{row.id}: the label is empty"
    if row.index >= 0:
        return None
    try:
        path = root / row.audio if is_anywhere else inside(root, row.audio, row.id)
        is_present = path.is_file()
    except DataError as error:
        return str(error)
    except (OSError, ValueError, RuntimeError) as error:  # too long, contains NUL, or a link to itself
        return f"{row.id}: {row.audio[:80]!r} is not a valid path ({error})"
    return None if is_present else f"{row.id}: the recording {root / row.audio} does not exist"


def _refuse_duplicates(rows: Iterable[Example]) -> None:
    places: dict[str, str] = {}
    problems = []
    for row in rows:
        if row.id in places:
            problems.append(f"{row.place}: the id {row.id!r} was already used in {places[row.id]}")
        places.setdefault(row.id, row.place)
    if problems:
        raise DataError(bullets(problems) + "\nEvery example needs a unique id.")


def _select(listing: Listing, config: DataConfig) -> tuple[list[Example], str]:
    """Return the first ``limit`` rows of the configured split, and the rule that defined it.

    A split is defined by the user's id list, else by the format's rule; ``all`` selects every row.
    """
    rows, rule = listing.rows, listing.rule
    if not any(row.text for row in rows) and any(row.label for row in rows):
        raise DataError(f"data={config.name}: has labels but no transcripts. Use it with models for audio events.")
    id_list: str | None = getattr(config.ids, config.split, None)
    if id_list is not None:
        path = local_path(id_list)
        ids = [line.strip() for _, line in lines_of(path) if line.strip()]
        by_id = {row.id: row for row in rows}
        problems = [f"{path}: {name!r} is not an id of the data set" for name in ids if name not in by_id]
        if problems:
            raise DataError(f"{bullets(problems)}\nIds look like {rows[0].id!r}; give one per line.")
        has_duplicates = len(set(ids)) < len(ids)  # a fast check; counting each id is slow
        duplicates = sorted({name for name in ids if ids.count(name) > 1}) if has_duplicates else []
        if duplicates:
            raise DataError(f"{path}: these ids occur more than once: {choices(duplicates)}.")
        chosen = [by_id[name] for name in ids]
        rule = f"ids as listed in {path.name}"
    elif config.split == "all":
        chosen, rule = rows, "all examples"
    elif config.split == "not_dev":
        chosen = _outside_dev(listing, config)
        rule = f"everything except dev ({rule})"
    else:
        chosen = [row for row in rows if row.split == config.split]
    if not chosen:
        present = [split for split in SPLITS if any(row.split == split for row in rows)]
        raise DataError(
            f"data.split={config.split}: the split is empty ({rule}; {len(rows)} rows; splits with examples:"
            f" {choices(present)})."
            + (
                ""
                if config.split == "all"
                else f" Set data.split=all, or list its ids in data.ids.{config.split}=FILE."
            )
        )
    return chosen[: config.limit], rule


def _outside_dev(listing: Listing, config: DataConfig) -> list[Example]:
    """Return every row that is not in dev.

    A merge without training chooses at most λ, and chooses it on dev, so all other rows are test data.
    """
    dev = {row.id for row in _select(listing, replace(config, split="dev", limit=None))[0]}
    return [row for row in listing.rows if row.id not in dev]


def _select_sounds(listing: Listing, config: DataConfig) -> tuple[list[Example], str]:
    """Return the first ``limit`` rows of every fold or, in data without folds, of every split."""
    rows = listing.rows
    if not any(row.label for row in rows):
        raise DataError(
            f"data={config.name}: has no labels. Use it with models for speech, and e.g. data=demo_sounds for"
            " audio events."
        )
    column = "fold" if any(row.fold is not None for row in rows) else "split"
    groups: dict[Any, list[Example]] = {}
    for row in rows:
        groups.setdefault(getattr(row, column), []).append(row)
    unassigned = groups.pop(None, [])
    if unassigned and not (column == "split" and config.split == "all"):
        raise DataError(
            f"data={config.name}: {len(unassigned)} clips have no {column}, e.g. {unassigned[0].id!r}. Give folds or"
            " splits in the metadata or as folders."
        )
    chosen = [row for group in [*groups.values(), unassigned] for row in group[: config.limit]]
    chosen_ids = {id(row) for row in chosen}
    return [row for row in rows if id(row) in chosen_ids], listing.rule
