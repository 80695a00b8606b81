"""Checks of what is merged: the parts of a layer, and the stacks of layers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from mam.errors import MamError
from mam.merging.options import activation_choices
from mam.merging.selection import ATTENTION, letters_of, parse_parts
from mam.merging.tables import CONTROLS, METHODS

if TYPE_CHECKING:
    from mam.config.schema import Config


def parts_problems(config: Config) -> Iterator[str]:
    """Yield parts that are not defined together with the other options."""
    try:
        parts = parse_parts(config.parts)
    except MamError as error:
        yield str(error)
        return
    control = CONTROLS[config.control]
    letters = set(letters_of(parts))
    if not letters & set(control.parts):
        yield f"parts={config.parts}: control={config.control} merges only {control.parts}, so nothing is left to merge"
    for letter in sorted(letters & set(control.lacks)):
        yield (
            f"parts={config.parts}: control={config.control} does not define a replacement for {letter}. Leave"
            f" {letter} out of parts, in all runs that are compared"
        )
    if letters <= ATTENTION:
        return
    others = "".join(sorted(letters - ATTENTION))
    headless = "feed-forward layers and norms have no heads"
    is_per_head = config.train.is_lmam and config.train.lam.per == "head"
    limits = {
        f"heads={config.heads}": (config.heads != "all", headless),
        f"align={config.align}": (config.align != "none", "only attention can be aligned"),
        f"on_mismatch={config.on_mismatch}": (config.on_mismatch != "error", "only attention can be projected"),
        f"method={config.method.name}": (METHODS[config.method.name].needs_moments, "it measures only attention"),
        f"train.lam.per={config.train.lam.per}": (is_per_head, headless),
    }
    for word, (is_set, why) in limits.items():
        if is_set:
            yield f"parts={config.parts}: {others} cannot be merged with {word}: {why}. Leave one of them out"


def where_problems(config: Config) -> Iterator[str]:
    """Yield options that have no meaning for the layers of a decoder."""
    if config.where == "encoder":
        return
    where = f"where={config.where}"
    if config.model.task == "events":
        yield f"{where}: audio events use only the encoder. Leave where out"
    for word, other in activation_choices(config).items():
        yield f"{where}: {word} can only be measured in encoders. Set where=encoder, or {other}"
    if config.where == "decoder":
        return
    if config.where == "cross" and config.parts == "f":
        yield f"{where}: cross-attention has no feed-forward block. Set where=decoder"
    for key, default in (("align", "none"), ("on_mismatch", "error")):
        if getattr(config, key) != default:
            yield (
                f"{where}: {key}={getattr(config, key)} fits one basis, but cross-attention reads hidden states of"
                " both the"
                " encoder and decoder. Set where=encoder or where=decoder"
            )
