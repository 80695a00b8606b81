"""A hub that is not to be reached: what was fetched before is found, and the rest is refused, without `datasets`."""

from __future__ import annotations

import os
from pathlib import Path

from huggingface_hub import constants

from mam.config.data import HubConfig
from mam.errors import DataError
from mam.files import is_folder, local_path


def refuse_offline(hub: HubConfig) -> None:
    """Raise DataError if the hub is not to be reached, and neither rows nor a copy can have been kept of a data set."""
    if not constants.HF_HUB_OFFLINE or is_folder(local_path(str(hub.id))):
        return
    copy = Path(constants.HF_HUB_CACHE) / f"datasets--{str(hub.id).replace('/', '--')}"
    if not copy.is_dir() and not any((kept_in() / "mam").glob("*.json")):
        raise DataError(offline(hub))


def kept_in() -> Path:
    """Return the folder in which `datasets` keeps what it reads (``datasets.config.HF_DATASETS_CACHE``)."""
    return Path(os.environ.get("HF_DATASETS_CACHE") or Path(constants.HF_HOME) / "datasets")


def offline(hub: HubConfig) -> str:
    """Return what to do without the hub."""
    return (
        f"data.hub.id={hub.id}: the hub cannot be reached or HF_HUB_OFFLINE is set, and the data was not downloaded"
        " before. Run the same command once online, download the repository with `hf download --repo-type dataset"
        f" {hub.id}`, or set data.hub.id=FOLDER of a copy."
    )
