"""Export of a finished run as a plain checkpoint with its model card, to start the next experiment from."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import yaml

from mam.config.checks import problems
from mam.config.merging import plan_of, reads_calibration
from mam.config.schema import Config
from mam.errors import RecordError, bullets
from mam.evaluation.inputs import located
from mam.evaluation.workbench import Workbench
from mam.files import atomic
from mam.identity import code_sha256
from mam.merging.options import ScheduleOptions
from mam.merging.pairing import MEASURED
from mam.models.parents import Parents
from mam.records.learning import TrainRecord
from mam.records.reading import CONFIG, read_config, read_predictions, read_result
from mam.records.result import RunResult
from mam.runs.merge_files import merge_checkpoint, new_folder, plan_of_files
from mam.runs.model_card import CARD, SETTINGS, card
from mam.small_files import parse_yaml, read_text


def export(run: Path, out: Path, fold: str | None = None, force: bool = False) -> list[str]:
    """Write the model of a finished run into ``out``: checkpoint, processor, tokenizer, model card, configuration.

    A merge without training is repeated, file to file in fp32, from the checkpoints that the run recorded. For a
    training the saved model is used, with λ folded in. ``mam run model.target=OUT lam=0`` reproduces the predictions of
    the run. For a random control the first draw is exported.

    Args:
        run: a run folder.
        out: the new folder; with ``force`` an earlier export in it is replaced, but nothing else.
        fold: for audio events, if each fold has its own model.
        force: see ``out``.

    Returns:
        Remarks on what was exported.

    Raises:
        RecordError: not a finished run, no saved model, other checkpoints than recorded, or ``out`` is not empty.
        CheckpointError, MergeError: a parent that cannot be read.
    """
    result, config = read_result(run), read_config(run)
    read_predictions(run)  # checked, since the card states the measurements
    unknown = problems(config)
    if unknown:
        raise RecordError(f"{run}: cannot be merged without its plug-in. Set plugins=[...]: {bullets(unknown)}")
    _refuse_foreign(out, force)
    _refuse_fold(run, result, fold)
    parents = _parents(config, result)
    settings = parse_yaml(read_text(run / CONFIG), run / CONFIG)
    with new_folder(out, force) as folder:
        if result.train:
            shutil.copytree(_saved(run, fold), folder, dirs_exist_ok=True)
            lams = result.merge.lams_by_source if fold is None else _of_fold(result.train, fold)
        else:
            config, by_source = _at_lam_of(config, result, fold)
            settings |= {"lam": config.lam, "schedule": asdict(config.schedule), "tune": {"name": "none"}}
            lams = _merge(config, parents, by_source, folder)
        with atomic(folder / CARD) as file:
            dataset = config.data.hub.id if config.data.source == "hub" else None
            file.write(card(result, parents, lams, out.absolute().name, dataset))
        with atomic(folder / SETTINGS) as file:
            yaml.safe_dump(settings, file, sort_keys=False, allow_unicode=True)
    return _remarks(config, result)


def _refuse_foreign(out: Path, force: bool) -> None:
    """Raise RecordError if ``out`` has content that may not be replaced."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not ((out / SETTINGS).is_file() and (out / CARD).is_file()):
        raise RecordError(f"out={out}: is not empty and not an earlier export. Choose another folder.")
    if not force:
        raise RecordError(f"out={out}: has an earlier export. Choose another folder, or set force=true to replace it.")


def _remarks(config: Config, result: RunResult) -> list[str]:
    """Return remarks for the user of the export."""
    remarks = []
    if not result.train and result.code != code_sha256():
        remarks.append("merged with mam's current code, which differs from that of the run")
    if result.merge.draws > 1:
        remarks.append(f"this is the first of {result.merge.draws} draws of control={config.control}")
    if result.task == "events" and result.train:
        remarks.append("the export includes the trained head; set head=checkpoint to use it")
    elif result.task == "events" and config.head == "probe_fixed":
        remarks.append(
            "in the run, the probe was fitted on the unmerged target; runs on this export fit it on merged features"
        )
    return remarks


def _refuse_fold(run: Path, result: RunResult, fold: str | None) -> None:
    """Raise RecordError if ``fold`` is none of those with an own model or λ, or is missing where there are such."""
    if result.train:
        folds = _saved_folds(run)
    else:
        folds = [str(choice.fold) for choice in result.tune.chosen] if result.tune and result.is_by_fold else []
    if not folds and fold is not None:
        raise RecordError(f"fold={fold}: {run} has one model, not one per fold. Leave fold out.")
    if folds and fold not in folds:
        raise RecordError(f"{run}: has one model per fold. Set fold to one of {', '.join(map(str, folds))}.")


def _saved_folds(run: Path) -> list[str]:
    """Return the names of the folds whose models a training saved; none if it saved one model."""
    folder = run / "model"
    if not folder.is_dir():
        raise RecordError(f"{run}: the trained model was not saved. Run it again with train.save_model=true.")
    folders = sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name.startswith("fold "))
    return [name.removeprefix("fold ") for name in folders]


def _saved(run: Path, fold: str | None) -> Path:
    """Return the folder of a trained model. Raises RecordError if files in it are links, whose content is elsewhere."""
    folder = run / "model" if fold is None else run / "model" / f"fold {fold}"
    links = sorted(str(path) for path in [folder, *folder.rglob("*")] if path.is_symlink())
    if links:
        raise RecordError(f"{links[0]}: is a link, which is not exported. Replace it with the file itself.")
    return folder


def _merge(config: Config, parents: Parents, lams: Sequence[float] | None, folder: Path) -> list[float]:
    """Merge file to file into ``folder``, at ``lams`` if they are given, and return λ by source and layer."""
    activations = Workbench().activations(config) if reads_calibration(config) else None
    partners = activations.partners() if activations is not None and config.pairing in MEASURED else None
    plan = plan_of_files(config, parents, partners)
    if lams is not None:
        plan = plan.at(lams)
    merge_checkpoint(parents, plan, folder / "merged", activations)
    for path in (folder / "merged").iterdir():
        path.replace(folder / path.name)
    (folder / "merged").rmdir()
    return list(plan.lams_by_source)


def _at_lam_of(config: Config, result: RunResult, fold: str | None) -> tuple[Config, list[float] | None]:
    """Return the configuration at the λ that was run, and these λ by source and layer unless it says them itself.

    They were configured or chosen on dev, for all layers or for each.
    """
    chosen = _chosen(result, fold)
    if isinstance(chosen, float):
        return replace(config, lam=chosen), None
    lams = result.merge.lams_by_source if chosen is None else chosen  # recorded, since the schedule may have changed
    planned = plan_of(config)
    if list(planned.lams_by_source) == lams:
        return config, None
    plan = planned.at(lams)
    values = [plan.lams[layer] for layer in plan.target.layers_of(config.where)]
    return replace(config, lam=1.0, schedule=ScheduleOptions("list", values=values)), lams


def _chosen(result: RunResult, fold: str | None) -> float | list[float] | None:
    """Return the λ that was chosen on dev, or None."""
    if result.tune is None:
        return None
    chosen = {choice.fold: choice.value for choice in result.tune.chosen}
    if not result.is_by_fold:
        return next(iter(chosen.values()))
    assert fold is not None, "checked by _refuse_fold"
    return chosen[fold]


def _parents(config: Config, result: RunResult) -> Parents:
    """Return the parents at their recorded locations. Raises RecordError if the weights of one have changed."""
    unpinned = replace(config.model, target_sha256=None, source_sha256=None, base_sha256=None)
    parents = located(replace(config, model=unpinned))
    for role, checkpoint in parents.named:
        recorded = result.model.parents[role]
        if checkpoint.sha256 != recorded.sha256:
            raise RecordError(
                f"model.{role}={checkpoint.id}: its weights are not those of the run (SHA-256"
                f" {checkpoint.sha256[:12]}…, in the run {recorded.sha256[:12]}…). Run it again, or restore the old"
                " weights."
            )
    return parents


def _of_fold(train: TrainRecord, fold: str) -> list[float]:
    training = next(training for training in train.folds if training.fold == f"fold {fold}")
    return training.lams_by_source or training.lam
