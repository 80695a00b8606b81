"""Finding a checkpoint: in a folder, in the demo package, or on the hub."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from mam.errors import CheckpointError, MamError, choices
from mam.files import local_path
from mam.models.checkpoints import BEATS, CONFIG, DOWNLOAD, INDEX, PICKLE, PICKLE_INDEX, SETTINGS, SINGLE, Checkpoint
from mam.models.refusals import refuse_adapters
from mam.models.settings import root_of
from mam.small_files import MB, open_regular, read_json

LARGEST_SETTINGS = 256 * MB  # tokenizers of many languages have tens of megabytes
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")


def locate(name: str, revision: str = "main", sha256: str | None = None) -> Checkpoint:
    """Find a checkpoint: ``asset:NAME``, a folder, a BEATs file, or a hub id at ``revision`` (downloaded once).

    safetensors are preferred; pickles are a fallback.

    Args:
        name: The configured name.
        revision: The revision of a hub id.
        sha256: The required hash of the weights, as in `Checkpoint.sha256`; None accepts any.

    Raises:
        CheckpointError: The folder or file does not exist, has no weights, lacks a shard or has another hash, or the
            hub cannot be reached.
        MamError: An asset is named, and the demo package is not installed.
    """
    checkpoint = _find(name, revision)
    if sha256 is not None and checkpoint.sha256 != sha256.lower():
        raise CheckpointError(
            f"{name}: the SHA-256 of its weights is {checkpoint.sha256}, not {sha256}. Fetch it again."
        )
    return checkpoint


def _find(name: str, revision: str) -> Checkpoint:
    folder = local_path(name)
    if folder.is_file() or (folder.suffix in BEATS and not folder.exists()):
        return _of_file(folder, name)
    if folder.is_dir():
        if revision != "main":
            raise CheckpointError(f"{name}: is a folder, which has no revision {revision!r}. Leave the revision out.")
        refuse_adapters(folder, name)
        _refuse_odd_settings(folder)
        return Checkpoint(name, folder, None, _weights(folder, name))
    if not _HUB_ID.fullmatch(name) or name.startswith("."):
        raise CheckpointError(f"{name}: there is no such folder, and it is not a hub id of the form owner/name.")
    folder = _download(name, revision, (*SETTINGS, "model*.safetensors"))
    refuse_adapters(folder, name)
    _refuse_odd_settings(folder)
    if not any(folder.glob("model*.safetensors")):
        folder = _download(name, revision, (*SETTINGS, "pytorch_model*.bin"))
    return Checkpoint(name, folder, folder.name, _weights(folder, name))


def _of_file(path: Path, name: str) -> Checkpoint:
    """Accept a BEATs file, or a weights or configuration file, which stands for its folder."""
    if path.suffix in BEATS:
        if not path.is_file():
            raise CheckpointError(f"{name}: there is no such file. {DOWNLOAD}")
        return Checkpoint(name, path.parent, None, (path,))
    refuse_adapters(path.parent, name)
    _refuse_odd_settings(path.parent)
    if path.name in (SINGLE, PICKLE) and (path.parent / CONFIG).is_file():
        return Checkpoint(name, path.parent, None, (path,))
    if path.name in (INDEX, PICKLE_INDEX, CONFIG):
        return Checkpoint(name, path.parent, None, _weights(path.parent, name))
    has_config = (path.parent / CONFIG).is_file()
    remedy = f"Give the folder: {path.parent}" if has_config else f"There is no {CONFIG} beside it"
    raise CheckpointError(
        f"{name}: is a file. mam reads a folder with {CONFIG} and {SINGLE}, or one BEATs file ({', '.join(BEATS)})."
        f" {remedy}."
    )


def _refuse_odd_settings(folder: Path) -> None:
    """Raise CheckpointError for a settings file that transformers could not read safely.

    That is one that is no regular file, is too large, or is a link to something outside of the folder.
    """
    for path in (path for pattern in SETTINGS for path in sorted(folder.glob(pattern))):
        try:
            open_regular(path, LARGEST_SETTINGS, root_of(folder)).close()
        except MamError as error:
            raise CheckpointError(str(error)) from error


def _download(name: str, revision: str, patterns: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download  # imported here: a folder does not need it
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(patterns)))
    except LocalEntryNotFoundError as error:
        raise CheckpointError(
            f"{name}: is not a folder here, and the hub cannot be reached or HF_HUB_OFFLINE is set."
            f" Go online, fetch it elsewhere with `hf download {name}` and copy the cache, or give a folder."
        ) from error
    except Exception as error:  # the hub's client raises many types, including those of its HTTP library
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise CheckpointError(f"{name}: the hub does not give it at revision {revision!r}: {reason}") from error


def _weights(folder: Path, name: str) -> tuple[Path, ...]:
    """Return the weight files of a folder, which must all exist; shards are sorted by name."""
    for single, index in ((SINGLE, INDEX), (PICKLE, PICKLE_INDEX)):
        if (folder / single).is_file():
            return (folder / single,)
        if (folder / index).is_file():
            try:
                shards = sorted(set(read_json(folder / index, within=root_of(folder))["weight_map"].values()))
                if not shards or any(Path(shard).name != shard for shard in shards):
                    raise ValueError("its shards must be plain file names, at least one")
            except (MamError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise CheckpointError(f"{folder / index}: is not an index of shards ({error}).") from error
            missing = [shard for shard in shards if not (folder / shard).is_file()]
            if missing:
                raise CheckpointError(
                    f"{name}: {len(missing)} of {len(shards)} shards are missing: {choices(missing)}."
                )
            return tuple(folder / shard for shard in shards)
    beats = [path for path in folder.iterdir() if path.suffix in BEATS]
    if len(beats) == 1 and not (folder / CONFIG).is_file():
        raise CheckpointError(f"{name}: is a folder. Give the file in it: {folder / beats[0].name}.")
    raise CheckpointError(
        f"{name}: {folder} has no weights. Expected {SINGLE} (or its shards' index, or {PICKLE});"
        f" there is: {choices([path.name for path in folder.iterdir()])}."
    )
