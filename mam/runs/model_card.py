"""The model card of an exported run: front matter that the hub reads, and a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from huggingface_hub import EvalResult, ModelCardData
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from mam.errors import MamError
from mam.identity import VERSION
from mam.merging.tables import CONTROLS, METHODS
from mam.models.checkpoints import Checkpoint
from mam.models.parents import Parents
from mam.models.settings import root_of
from mam.records.parts import MergeRecord
from mam.records.result import RunResult
from mam.records.text import arm_text, metric_name, plain_id, sources_text
from mam.scoring.languages import bare_code
from mam.scoring.wording import difference_text, units_text
from mam.small_files import parse_yaml, read_text
from mam.terminal import percent

CARD, SETTINGS = "README.md", "mam_config.yaml"
TAGS = ("merge", "mam", "multimodal-attention-merging")
NOT_SAID = "not stated in its files"
BASELINES = {"ft": "regular fine-tuning", "unmerged": "the target unmerged"}
TASKS = {"asr": "automatic-speech-recognition", "events": "audio-classification"}
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
    """Return the licence in the checkpoint's own card, or `NOT_SAID`."""
    card = checkpoint.folder / CARD
    try:
        text = read_text(card, within=root_of(checkpoint.folder))
        front_text = text.split("---")[1] if text.startswith("---") else ""
        front = parse_yaml(front_text, card)
        licence = (front or {}).get("license")
        return licence if isinstance(licence, str) and licence.strip() else NOT_SAID
    except (MamError, IndexError, AttributeError):
        return NOT_SAID


def metadata(result: RunResult, parents: Parents, name: str, dataset: str | None) -> ModelCardData:
    """Return what the hub reads of a card.

    Base models are hub ids only: a parent that was read from a folder is not claimed. Neither is a source of which a
    control left nothing. The licence is that of all parents, if they agree.

    Args:
        result: the finished run.
        parents: its checkpoints.
        name: the model's name.
        dataset: the hub id of the data, or None.
    """
    used = _used(result, parents)
    bases = [parent.id for parent in used if parent.revision is not None and _is_hub_id(parent.id)]
    relation = "merge" if len(used) > 1 else "finetune" if result.train else None
    licences = {licence_of(parent) for parent in used}
    licence = licences.pop() if len(licences) == 1 else NOT_SAID
    has_head = result.task == "asr" or result.train is not None or (result.head and result.head.name == "checkpoint")
    further: dict[str, Any] = {"base_model_relation": relation} if bases and relation else {}
    return ModelCardData(
        base_model=bases or None,
        language=bare_code(result.data.language) or None if result.task == "asr" else None,
        license=None if licence in (NOT_SAID, "other") else licence,
        library_name=None if parents.target.is_beats else "transformers",
        pipeline_tag=TASKS[result.task] if has_head and not parents.target.is_beats else None,
        tags=list(TAGS),
        model_name=_readable(name) or "merged",
        eval_results=[_evaluation(result, dataset)],
        **further,
    )


def _used(result: RunResult, parents: Parents) -> Sequence[Checkpoint]:
    """Return the parents whose weights are in the model."""
    control = CONTROLS[result.merge.control]
    is_noise = control.is_drawn_first or not control.has_structure
    has_source = result.is_merged and not is_noise and control.layers != "own"
    if not has_source:  # of a task vector's control the base is left, which the target comes from
        return [parents.target]
    return [checkpoint for _, checkpoint in parents.named]


def _evaluation(result: RunResult, dataset: str | None) -> EvalResult:
    """Return the rate in percent (of sounds the accuracy, which the hub knows), with the baseline as an argument."""
    is_speech = result.task == "asr"
    new, old = (_percent(rate if is_speech else 1 - rate) for rate in (result.rate, result.baseline_rate))
    ends = [_percent(bound if is_speech else -bound) for bound in result.delta.ci95 or ()]
    name = metric_name(result) if is_speech else "accuracy"
    data = _readable(result.data.name) or "data"
    return EvalResult(
        task_type=TASKS[result.task],
        dataset_type=dataset or data,
        dataset_name=data,
        dataset_split=_readable(result.data.split),
        metric_type=result.metric if is_speech else "accuracy",
        metric_name=f"{name} (%)",
        metric_value=new,
        metric_args={
            "baseline": old,
            "baseline_is": BASELINES[result.baseline.kind],
            "difference": round(new - old, 4),
            "interval": sorted(ends) or None,
            "p_value": result.delta.p_value,
            "examples": result.data.n,
        },
    )


def _percent(rate: float) -> float:
    return round(100 * rate, 4)


def _is_hub_id(name: str) -> bool:
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return name.count("/") == 1


def _readable(text: str) -> str:
    """Return text on one line and in valid UTF-8; folders may be named otherwise."""
    return " ".join(text.encode("utf-8", "replace").decode().split())


def _cell(text: str) -> str:
    return _readable(text).replace("|", "\\|")


def card(result: RunResult, parents: Parents, lams: Sequence[float], name: str, dataset: str | None = None) -> str:
    """Return the model card: the merge, λ by layer, data, metrics with intervals, parents, citation.

    ``lams`` has one λ a layer, of several sources for each in turn; ``name`` and ``dataset`` are as in `metadata`.
    """
    merge, data, metric = result.merge, result.data, metric_name(result)
    pairs, depth = [one.pairs for one in merge.each], len(merge.lam)
    sources = ["source"] if len(pairs) == 1 else [f"source {number}" for number in range(1, len(pairs) + 1)]
    has_name = len(sources) > 1
    rows = [
        f"{f'| {name} ' if has_name else ''}| {layer} | {lams[place * depth + layer]:.6g}"
        f" | {pairs[place].get(str(layer), '–')} |"
        for place, name in enumerate(sources)
        for layer in range(depth)
    ]
    baseline = BASELINES[result.baseline.kind]
    title = f"{plain_id(result.model.target.id)} ← {sources_text(result)}"
    replaced = "The source is" if len(sources) == 1 else "Each source is"
    control = "" if merge.control == "none" else f" {replaced} replaced with the control `{merge.control}`."
    lines = [
        "---",
        metadata(result, parents, name, dataset).to_yaml(),
        "---",
        "",
        f"# {_readable(title)}",
        "",
        f"{arm_text(result)}: {merge.parts.upper()} of {_whose(sources)} attention merged into the target's"
        f" {'with' if merge.bias else 'without'} biases, {_formula(merge)}, by mam {VERSION}.{control}",
        "",
        f"{'| source ' if has_name else ''}| layer | λ | source layer |",
        f"{'|---' if has_name else ''}|---|---|---|",
        *rows,
        "",
        "## Results",
        "",
        f"On {_readable(data.name)}, {data.split} ({data.n} examples, {data.seconds:.0f} s): {metric}"
        f" {percent(result.rate)}, {baseline} {percent(result.baseline_rate)};"
        f" difference {difference_text(result.delta)} ({units_text(result.delta)};"
        f" {result.delta.test}).",
        "",
        *(f"- {note}" for note in result.diagnostics),
        "",
        "## Parent models",
        "",
        "| | id | revision | SHA-256 of the weights | licence |",
        "|---|---|---|---|---|",
        *(
            f"| {side} | {_cell(plain_id(record.id))} | {record.revision or '–'} | {record.sha256}"
            f" | {_cell(licence_of(parent))} |"
            for (side, parent), record in zip(parents.named, result.model.parents.values(), strict=True)
        ),
        "",
        _licences(result, parents),
        "",
        "## How this model was made",
        "",
        f"`{_readable(result.command)}`, then `mam export`. The full configuration is in `{SETTINGS}`.",
        "",
        CITATION,
    ]
    return "\n".join(lines)


def _whose(sources: Sequence[str]) -> str:
    """Return whose attention was merged."""
    return "the source's" if len(sources) == 1 else f"{len(sources)} sources'"


def _licences(result: RunResult, parents: Parents) -> str:
    """Return whose licences apply to the weights."""
    if len(_used(result, parents)) > 1:
        return f"The licences of {'both' if len(parents.named) == 2 else 'all'} apply."
    return "The licence of the target applies, since the weights contain nothing of the source."


def _formula(merge: MergeRecord) -> str:
    """Return how the two were mixed, and in which basis."""
    text = "`W = (1-λ)·W_target + λ·W_source`"
    if merge.by_source:
        text = "`W = (1-Σλ_i)·W_target + Σ λ_i·W_source_i`"
    if merge.method != "linear":
        traits = METHODS.get(merge.method)
        text = f"by `{merge.method}` ({traits.summary.rstrip('.') if traits else 'of a plug-in'})"
    for number, one in enumerate(merge.each, 1):
        which = f"source {number}" if merge.by_source else "the source"
        text += f", {which} projected to the target's width by `{one.project}`" if one.project else ""
    text += "" if merge.align == "none" else f", the source aligned by `{merge.align}`"
    return text if merge.repair == "none" else f"{text}, rescaled by `repair={merge.repair}`"
