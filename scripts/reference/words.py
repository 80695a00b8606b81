"""The words of the command line: keys, their defaults and meanings, and the help of every verb."""

from __future__ import annotations

import contextlib
import io
import os
from importlib import import_module

from mam.cli import USAGE
from mam.config.reference import key_docs
from mam.config.schema import Config
from mam.config.training import TrainConfig
from mam.verbs import VERBS
from mam.verbs import help as run_help
from scripts.reference.markdown import block, table


def keys() -> str:
    """Every key that has no group of files."""
    apart = ("model.", "data.", "schedule.", "layers.", "method.", "train.", "tune.", "study.")
    return documented(Config, leaving_out=apart)


def section(name: str) -> str:
    """Every key of a group of files, such as ``data.``."""
    every = key_docs(Config)
    rows = [[f"`{one.key}`", f"`{one.default}`" if one.default else "", one.meaning] for one in every]
    return table(["key", "default", ""], [cells for cells in rows if cells[0].startswith(f"`{name}.")])


def documented(kind: type, prefix: str = "", leaving_out: tuple[str, ...] = ()) -> str:
    """Keys, defaults and meanings of a dataclass of the schema."""
    docs = [one for one in key_docs(kind, prefix) if not one.key.startswith(leaving_out or ("-",))]
    rows = [[f"`{one.key}`", f"`{one.default}`" if one.default else "", one.meaning] for one in docs]
    return table(["key", "default", ""], rows)


def training() -> str:
    """Every ``train.`` key."""
    return documented(TrainConfig, "train.")


def verbs() -> str:
    """The help of ``mam`` and of every verb. That of ``run`` leaves out the keys, which have a page of their own."""
    parts = [block(USAGE)]
    for verb, sentence in VERBS.items():
        shown = f"{run_help.USAGE}\n\n{run_help.EXAMPLES}" if verb == "run" else help_of(verb)
        parts += [f"## mam {verb}", f"{sentence[0].upper()}{sentence[1:]}.", block(shown)]
    return "\n\n".join(parts)


def help_of(verb: str) -> str:
    """What ``mam VERB --help`` prints on a terminal of 80 columns."""
    printed, before = io.StringIO(), os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "80"
    try:
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            import_module(f"mam.verbs.{verb}").main(["--help"])
    finally:
        os.environ.pop("COLUMNS") if before is None else os.environ.update(COLUMNS=before)
    return printed.getvalue()
