"""Keys of configurations that earlier versions recorded, as they are called now."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

# Columns that stood in data.hub, with defaults that were written down even for folders.
HUB_COLUMNS = {"audio": "audio", "text": "text", "ids": "id", "label": "label", "speaker": "speaker"}
HUB_COLUMNS |= {"fold": "fold", "origin": "origin"}
GONE = ("files",)  # which Parquet files were read; the configuration and the split say that now


def renamed(recorded: DictConfig | ListConfig) -> DictConfig | ListConfig:
    """Return a recorded configuration with the keys of this version.

    ``data.hub`` had the names of columns, which are now in ``data.columns`` for folders too. They had an effect only
    with ``data.source=hub``.
    """
    hub = OmegaConf.select(recorded, "data.hub")
    if not isinstance(hub, DictConfig) or "files" not in hub:
        return recorded
    plain: Any = OmegaConf.to_container(recorded, resolve=False)
    data, old = plain["data"], plain["data"]["hub"]
    columns = {new: old.pop(key, None) for key, new in HUB_COLUMNS.items()}
    for key in GONE:
        old.pop(key, None)
    if data.get("source") == "hub":
        data["columns"] = columns
    made: DictConfig = OmegaConf.create(plain)
    return made
