"""A check that all data and checkpoints of a plan exist, before anything runs."""

from __future__ import annotations

from collections.abc import Sequence

from mam.config.job import Job
from mam.config.model import ROLES
from mam.data.corpus import open_corpus
from mam.errors import MamError, bullets
from mam.files import sha256_json
from mam.models.locate import locate


def refuse_incomplete(plan: Sequence[Job]) -> None:
    """Raise MamError if a data set (by its metadata) or a checkpoint of a plan is missing.

    Raises:
        MamError: lists everything that is missing, with where to get it.
    """
    missing: dict[str, None] = {}
    seen: set[str] = set()
    for job in plan:
        config = job.config
        data, model = (sha256_json(job.resolved[part]) for part in ("data", "model"))
        if data not in seen:
            try:
                open_corpus(config.data, config.model.task)
            except MamError as error:
                page = f" Download it from {config.data.page}." if config.data.page else ""
                missing[f"data={config.data.name}: {str(error).splitlines()[0]}{page}"] = None
        if model not in seen:
            for role in ROLES:
                name = getattr(config.model, role)
                try:
                    if name is not None:
                        locate(name, getattr(config.model, f"{role}_revision"))
                except MamError as error:
                    missing[f"model.{role}: {error}"] = None
        seen |= {data, model}
    if missing:
        raise MamError(f"nothing was run, since data or models are missing: {bullets(list(missing))}")
