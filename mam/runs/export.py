"""A finished run as a plain checkpoint with its model card: what the next experiment starts from."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml

from mam import __version__
from mam.config.schema import Config, ScheduleConfig
from mam.errors import RecordError
from mam.evaluation.model_pair import checked_source_and_target
from mam.evaluation.workbench import Workbench
from mam.files import atomic
from mam.identity import code_sha256
from mam.merge.align import ALIGNMENTS
from mam.merge.methods import METHODS
from mam.merge.plan import plan_merge
from mam.models.checkpoints import Checkpoint, locate
from mam.records.reading import read_config, read_predictions, read_result, sources_of
from mam.report.tables import arm_text, metric_of, plain_id
from mam.runs.merge_files import merge_checkpoint, new_folder
from mam.scoring.wording import difference_text, read_difference, units_text
from mam.tasks import TASKS
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


def export(run: Path, out: Path, fold: str | None = None, force: bool = False) -> list[str]:
    """Write the model of a finished run into ``out``: checkpoint, processor, tokenizer, model card, configuration.

    A merge without training is made again, file to file in fp32, from the checkpoints that the run recorded; of a
    training the saved model is taken, in which λ is folded. ``mam run model.target=OUT lam=0`` predicts what the run
    predicted. Of a random control it is the first draw.

    Args:
        run: a run folder.
        out: the new folder; with ``force`` an earlier export in it is replaced, and nothing else.
        fold: of audio events, where each fold has a model of its own.

    Returns:
        Remarks on what was exported.

    Raises:
        RecordError: not a finished run, no saved model, other checkpoints than recorded, or ``out`` is not empty.
        CheckpointError, MergeError: a parent that cannot be read.
    """
    result, config = read_result(run), read_config(run)
    read_predictions(run, TASKS[result["task"]].REQUIRED)  # what is measured stands on the card
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        if not ((out / SETTINGS).is_file() and (out / CARD).is_file()):
            raise RecordError(f"out={out}: is not empty, and no earlier export that could be replaced. Choose another.")
        if not force:
            raise RecordError(
                f"out={out}: is not empty. Choose another folder, or say force=true to replace the export."
            )
    parents = tuple(_parent(config, side, result["model"][side]) for side in ("target", "source"))
    lams, settings = list(result["merge"]["lam"]), yaml.safe_load((run / ".hydra" / "config.yaml").read_text("utf-8"))
    with new_folder(out, force) as folder:
        if result["train"]:
            shutil.copytree(_saved(run, fold), folder, dirs_exist_ok=True)
            lams = lams if fold is None else _of_fold(result, fold)
        else:
            lam = _lam(config, result, fold)
            config = replace(config, lam=lam if isinstance(lam, float) else 1.0)
            if isinstance(lam, list):
                config = replace(config, schedule=ScheduleConfig("list", values=lam))
            settings |= {"lam": config.lam, "schedule": asdict(config.schedule), "tune": {"name": "none"}}
            lams = _merge(config, folder / "merged")
            for path in (folder / "merged").iterdir():
                path.replace(folder / path.name)
            (folder / "merged").rmdir()
        with atomic(folder / CARD) as file:
            file.write(card(result, parents, lams))
        with atomic(folder / SETTINGS) as file:
            yaml.safe_dump(settings, file, sort_keys=False, allow_unicode=True)
    draws, remarks = result["merge"].get("draws", 1), []
    if not result["train"] and sources_of(result) != code_sha256():
        remarks.append("merged by mam's sources as they are now, which are not those of the run")
    if draws > 1:
        remarks.append(f"of {draws} draws of control={config.control} this is the first")
    if result["task"] == "events" and result["train"]:
        remarks.append("its trained head is in it: say head=checkpoint to use it")
    elif result["task"] == "events" and config.head == "probe_fixed":
        remarks.append("its probe was fitted on the unmerged target; a run on the export fits one on merged features")
    return remarks


def _saved(run: Path, fold: str | None) -> Path:
    folder = run / "model"
    if not folder.is_dir():
        raise RecordError(f"{run}: its model was not saved. Train it with train.save_model=true.")
    folds = sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name.startswith("fold "))
    if not folds:
        return folder
    if f"fold {fold}" not in folds:
        raise RecordError(f"{run}: has a model for each fold. Say fold=N, of {', '.join(folds)}.")
    return folder / f"fold {fold}"


def _merge(config: Config, out: Path) -> list[float]:
    """Merge file to file; returns λ of every layer."""
    target, source = checked_source_and_target(config.model)
    plan = plan_merge(config, config.model.target_shape.layers, source.layers)
    needs_activations = METHODS[plan.method].needs_moments or ALIGNMENTS[plan.align].needs_activations
    merge_checkpoint(target, source, plan, out, Workbench().activations(config) if needs_activations else None)
    return list(plan.lams)


def _lam(config: Config, result: Mapping[str, Any], fold: str | None) -> float | list[float]:
    """The λ that was run: as configured, or as chosen on dev, for all layers or for each."""
    chosen: dict[str | None, float | list[float]]
    chosen = {one["fold"]: one.get("lams", float(one["lam"])) for one in (result["tune"] or {}).get("chosen", [])}
    if not chosen:
        recorded = list(result["merge"]["lam"])
        planned = plan_merge(config, config.model.target_shape.layers, config.model.source_shape.layers).lams
        return config.lam if list(planned) == recorded else recorded  # as it was run, whatever a schedule means now
    first = next(iter(chosen.values()))
    if all(lam == first for lam in chosen.values()):
        return first
    if fold not in chosen:
        choices = ", ".join(f"fold {name}: {lam}" for name, lam in chosen.items())
        raise RecordError(f"λ was chosen for each fold ({choices}). Say fold=N.")
    return chosen[fold]


def _parent(config: Config, side: str, recorded: Mapping[str, Any]) -> Checkpoint:
    """A parent where the run found it. Raises RecordError where it is another one now."""
    found = locate(getattr(config.model, side), getattr(config.model, f"{side}_revision"))
    if found.sha256 != recorded["sha256"]:
        raise RecordError(
            f"model.{side}={found.id}: its weights are others than in the run (SHA-256 {found.sha256[:12]}…, then"
            f" {recorded['sha256'][:12]}…). Run it again, or bring the old ones back."
        )
    return found


def licence_of(checkpoint: Checkpoint) -> str:
    """What the checkpoint's own card says, or that it says nothing."""
    card = checkpoint.folder / CARD
    try:
        text = card.read_text(encoding="utf-8")
        front = yaml.safe_load(text.split("---")[1]) if text.startswith("---") else {}
        return str((front or {}).get("license") or "not said in its files")
    except (OSError, ValueError, IndexError, AttributeError, yaml.YAMLError):
        return "not said in its files"


def card(result: Mapping[str, Any], parents: tuple[Checkpoint, ...], lams: Sequence[float]) -> str:
    """The model card: what was merged, λ by layer, data, metrics with intervals, parents, citation."""
    merge, data, delta, name = result["merge"], result["data"], result["delta"], metric_of(result)
    target, source = (result["model"][side] for side in ("target", "source"))
    rows = [f"| {layer} | {lam:.6g} | {merge['pairs'].get(str(layer), '–')} |" for layer, lam in enumerate(lams)]
    baseline = {"ft": "regular fine-tuning", "unmerged": "the target unmerged"}[result["baseline"]["kind"]]
    control = "" if merge["control"] == "none" else f" The source is replaced by the control `{merge['control']}`."
    lines = [
        "---",
        "tags: [multimodal-attention-merging, mam]",
        f"base_model: {plain_id(target['id'])}",
        "---",
        "",
        f"# {plain_id(target['id'])} ← {plain_id(source['id'])}",
        "",
        f"{arm_text(result)}: {merge['parts'].upper()} of the source's attention merged into the target's"
        f" {'with' if merge['bias'] else 'without'} biases, {_formula(merge)}, by mam {__version__}.{control}",
        "",
        "| layer | λ | source layer |",
        "|---|---|---|",
        *rows,
        "",
        "## Measured",
        "",
        f"On {data['name']}, {data['split']} ({data['n']} examples, {data['seconds']:.0f} s): {name[1]}"
        f" {percent(result['metrics'][name[0]])}, {baseline} {percent(result['baseline'][name[0]])};"
        f" difference {difference_text(read_difference(delta))} ({units_text(read_difference(delta))};"
        f" {delta['test']}).",
        "",
        *(f"- {note}" for note in result["diagnostics"]),
        "",
        "## Parents",
        "",
        "| | id | revision | SHA-256 of the weights | licence |",
        "|---|---|---|---|---|",
        *(
            f"| {side} | {plain_id(one['id'])} | {one['revision'] or '–'} | {one['sha256']} | {licence_of(parent)} |"
            for side, one, parent in (("target", target, parents[0]), ("source", source, parents[1]))
        ),
        "",
        "The licences of both apply.",
        "",
        "## Made by",
        "",
        f"`{result['command']}` and `mam export`; the whole configuration is in `{SETTINGS}`.",
        "",
        CITATION,
    ]
    return "\n".join(lines)


def _formula(merge: Mapping[str, Any]) -> str:
    """How the two were mixed, in which basis."""
    method, align, project = merge["method"], merge.get("align", "none"), merge.get("project")
    plain = "`W = (1-λ)·W_target + λ·W_source`"
    said = plain if method == "linear" else f"by `{method}` ({METHODS[method].summary.rstrip('.')})"
    said += f", the source projected to the target's width by `{project}`" if project else ""
    return said + ("" if align == "none" else f", the source aligned by `{align}`")


def _of_fold(result: Mapping[str, Any], fold: str) -> list[float]:
    return next(list(one["lam"]) for one in result["train"]["folds"] if one["fold"] == f"fold {fold}")
