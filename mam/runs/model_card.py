"""The model card of an exported run."""

from __future__ import annotations

from collections.abc import Sequence

import yaml

from mam import __version__
from mam.merging.tables import METHODS
from mam.models.checkpoints import Checkpoint
from mam.records.parts import MergeRecord
from mam.records.result import RunResult
from mam.records.text import arm_text, metric_name, plain_id
from mam.scoring.wording import difference_text, units_text
from mam.terminal import percent

CARD, SETTINGS = "README.md", "mam_config.yaml"
CITATION = """\
```bibtex
@article{sundar2023multimodal,
  title   = {Multimodal Attention Merging for Improved Speech Recognition and Audio Event Classification},
  author  = {Sundar, Anirudh S. and Yang, Chao-Han Huck and Chan, David M. and Ghosh, Shalini and
             Ravichandran, Venkatesh and Nidadavolu, Phani Sankar},
  journal = {arXiv preprint arXiv:2312.14378},
  year    = {2023}
}
```
"""


def licence_of(checkpoint: Checkpoint) -> str:
    """Return the licence in the checkpoint's own card, or a phrase that none is given."""
    card = checkpoint.folder / CARD
    try:
        text = card.read_text(encoding="utf-8")
        front = yaml.safe_load(text.split("---")[1]) if text.startswith("---") else {}
        return str((front or {}).get("license") or "not said in its files")
    except (OSError, ValueError, IndexError, AttributeError, yaml.YAMLError):
        return "not said in its files"


def card(result: RunResult, parents: tuple[Checkpoint, Checkpoint], lams: Sequence[float]) -> str:
    """Return the model card: the merge, λ by layer, data, metrics with intervals, parents, citation."""
    merge, data, metric = result.merge, result.data, metric_name(result)
    target, source = result.model.target, result.model.source
    rows = [f"| {layer} | {lam:.6g} | {merge.pairs.get(str(layer), '–')} |" for layer, lam in enumerate(lams)]
    baseline = {"ft": "regular fine-tuning", "unmerged": "the target unmerged"}[result.baseline.kind]
    control = "" if merge.control == "none" else f" The source is replaced by the control `{merge.control}`."
    lines = [
        "---",
        "tags: [multimodal-attention-merging, mam]",
        f"base_model: {plain_id(target.id)}",
        "---",
        "",
        f"# {plain_id(target.id)} ← {plain_id(source.id)}",
        "",
        f"{arm_text(result)}: {merge.parts.upper()} of the source's attention merged into the target's"
        f" {'with' if merge.bias else 'without'} biases, {_formula(merge)}, by mam {__version__}.{control}",
        "",
        "| layer | λ | source layer |",
        "|---|---|---|",
        *rows,
        "",
        "## Measured",
        "",
        f"On {data.name}, {data.split} ({data.n} examples, {data.seconds:.0f} s): {metric}"
        f" {percent(result.rate)}, {baseline} {percent(result.baseline_rate)};"
        f" difference {difference_text(result.delta)} ({units_text(result.delta)};"
        f" {result.delta.test}).",
        "",
        *(f"- {note}" for note in result.diagnostics),
        "",
        "## Parents",
        "",
        "| | id | revision | SHA-256 of the weights | licence |",
        "|---|---|---|---|---|",
        *(
            f"| {side} | {plain_id(record.id)} | {record.revision or '–'} | {record.sha256} | {licence_of(parent)} |"
            for side, record, parent in (("target", target, parents[0]), ("source", source, parents[1]))
        ),
        "",
        "The licences of both apply.",
        "",
        "## Made by",
        "",
        f"`{result.command}` and `mam export`; the whole configuration is in `{SETTINGS}`.",
        "",
        CITATION,
    ]
    return "\n".join(lines)


def _formula(merge: MergeRecord) -> str:
    """Return how the two were mixed, and in which basis."""
    text = "`W = (1-λ)·W_target + λ·W_source`"
    if merge.method != "linear":
        traits = METHODS.get(merge.method)
        text = f"by `{merge.method}` ({traits.summary.rstrip('.') if traits else 'of a plug-in'})"
    if merge.project:
        text += f", the source projected to the target's width by `{merge.project}`"
    return text if merge.align == "none" else f"{text}, the source aligned by `{merge.align}`"
