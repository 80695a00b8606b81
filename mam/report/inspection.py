"""The output of `mam inspect` in the terminal, in tables of at most 80 columns."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table

from mam.merging.similarity import LayerSimilarities
from mam.report.language import text_lines
from mam.runs.inspection import AlignmentGain, Inspection
from mam.runs.trial_merge import ProjectionChange
from mam.terminal import Terminal, p_text, percent, plain_table, true_minus


def show_inspection(terminal: Terminal, found: Inspection) -> None:
    """Show both models, every projection that will change, dropped tensors, warnings, memory and time."""
    models = [found.target, found.source, *found.further]
    names = ["target", "source", *(f"source {number}" for number in range(2, len(models)))]
    sides = plain_table(("", "left"), *((name, "left") for name in names))
    for label, name in (
        ("checkpoint", "id"),
        ("type", "model_type"),
        ("modality", "modality"),
        ("attention", "attention"),
        ("layers", "layers"),
        ("decoder", "decoder"),
        ("width", "width"),
        ("heads", "heads"),
        ("head width", "head_width"),
        ("biases of", "biases"),
        ("parameters", "parameters"),
    ):
        values = [getattr(side, name) for side in models]
        if name == "decoder" and not any(values):
            continue
        texts = (f"{value:,}" if isinstance(value, int) else value for value in values)
        sides.add_row(label, *(_shortened(text, 62 // len(models) - 1) for text in texts))
    terminal.table("attention of both models" if len(models) == 2 else "attention of all models", sides)
    for number in range(1, len(models)):
        _show_source(terminal, found, number, "" if len(models) == 2 else f"source {number}: ")
    terminal.say("")
    heads = "" if found.heads is None else f", heads {', '.join(map(str, found.heads))} of {found.target.heads} only"
    terminal.say(
        f"changes {found.tensors} tensors, {found.parameters:,} parameters:"
        f" {percent(found.parameters / found.target.parameters)} of the target{heads}"
    )
    for line in text_lines(found.text):
        terminal.say(line)
    for note in found.notes:
        terminal.say(f"note    {note}")
    for warning in found.warnings:
        terminal.say(f"warning {warning}")
    source = "of the source" if len(models) == 2 else "of the sources"
    pieces = {"target": "target", "pristine": "copy of the tensors that change", "source": source}
    terminal.say(f"memory  {_size(found.memory['together'])} in fp32:")
    for name, words in pieces.items():
        terminal.say(f"        {words} {_size(found.memory[name])}")
    terminal.say("        plus audio and cached states during a run, evaluate.memory_gb of each")
    terminal.say(f"time    {found.seconds['read_and_merge']:.2f} s to read and merge both on this machine")


def _show_source(terminal: Terminal, found: Inspection, number: int, which: str) -> None:
    """Show what one source changes, and what aligning it gains; ``which`` begins the titles."""
    changes = [change for change in found.projections if change.source == number]
    gains = [gain for gain in found.gains if gain.source == number]
    if changes:
        source = "source" if found.control == "none" else found.control
        compared = "the two weights" if found.base is None else f"both changes to {found.base}"
        terminal.table(f"{which}projections that will change", _layers(changes))
        terminal.say(f"cos: cosine of {compared}; ×: spread of the {source} over the target's")
    if gains:
        terminal.table(f"{which}align={found.align}: Q, K and V together, before and after", _gains(found.align, gains))
        terminal.say("noise: the cosine that noise with the source's spectrum reaches")


def _layers(projections: Sequence[ProjectionChange]) -> Table:
    parts = list(dict.fromkeys(change.part for change in projections))
    columns = [("layer", "right"), ("from", "right"), ("λ", "right")]
    columns += [(f"cos {part}", "right") for part in parts] + [(f"× {part}", "right") for part in parts]
    table = plain_table(*columns)
    by_layer: dict[int, list[ProjectionChange]] = {}
    for change in projections:
        by_layer.setdefault(change.layer, []).append(change)
    for changes in by_layer.values():
        by_part = {change.part: change for change in changes}  # cross-attention has fewer parts
        cosines = [true_minus(f"{by_part[part].cosine:+.3f}") if part in by_part else "–" for part in parts]
        scales = [by_part[part].scale if part in by_part else None for part in parts]
        ratios = ["–" if scale is None else f"{scale:.2f}" for scale in scales]
        first = changes[0]
        table.add_row(first.place, first.source_place, f"{first.lam:.4g}", *cosines, *ratios)
    return table


def show_similarities(terminal: Terminal, found: Sequence[LayerSimilarities]) -> None:
    """Show for each measure the source layer that is most similar to each target layer, beside chance."""
    for by_measure in found:
        table = plain_table(
            *(("layer", "right"), ("nearest", "right"), (by_measure.measure, "right")),
            *(("chance", "right"), ("above", "right"), ("p", "right")),
        )
        for best in by_measure.best:
            one = best.similarity
            numbers = (true_minus(f"{value:+.3f}") for value in (one.value, one.chance, one.calibrated))
            table.add_row(str(best.layer), str(best.source_layer), *numbers, p_text(best.p_value))
        name = {"cka": "linear CKA", "neighbours": "mutual nearest neighbours"}[by_measure.measure]
        terminal.table(f"{name} of both models on {by_measure.n} inputs", table)
    terminal.say("")
    terminal.say("chance: mean of 200 permutations of the inputs; above: 0 at chance, 1 if equal;")
    terminal.say("p: share of permutations in which any source layer is as far above chance")


def _gains(align: str, gains: Sequence[AlignmentGain]) -> Table:
    measure = "spectra" if align == "heads" else "distance"
    table = plain_table(
        *((name, "right") for name in ("layer", "cos", "aligned", "gain", "noise", measure, "aligned ")),
    )
    for gain in gains:
        cosines = [gain.cosine[0], gain.cosine[1], gain.cosine[1] - gain.cosine[0], gain.noise]
        distances = (f"{distance:.3f}" for distance in gain.distance)
        table.add_row(str(gain.layer), *(true_minus(f"{value:+.3f}") for value in cosines), *distances)
    return table


def _size(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _shortened(text: str, width: int) -> str:
    """Return the end of a long name, which is more informative than its beginning."""
    return text if len(text) <= width else f"…{text[1 - width :]}"
