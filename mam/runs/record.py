"""The parts of a result, made from the measurements of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mam.config.job import Job
from mam.config.merging import reads_calibration
from mam.config.schema import Config, code_of
from mam.data.audio import RATE
from mam.data.store import AudioStore
from mam.evaluation.measurement import Measurement
from mam.evaluation.workbench import Readings
from mam.merging.options import merge_options
from mam.merging.plan import MergePlan, mismatch_notes
from mam.merging.selection import letters_of, parse_parts
from mam.merging.tables import METHODS
from mam.models.checkpoints import Checkpoint
from mam.models.parents import Parents
from mam.records.extensions import ConfigFileRecord, Extensions, PluginRecord
from mam.records.parts import (
    CheckpointRecord,
    DataRecord,
    DecoderRecord,
    GroupsRecord,
    MergeRecord,
    ModelRecord,
    SourceMerge,
    Timing,
)
from mam.tasks import asr


def window_notes(in_windows: int, clips: int) -> list[str]:
    """Return a note on recordings that are decoded in windows, if there are any."""
    if not in_windows:
        return []
    return [f"{in_windows} of {clips} recordings are longer than 30 s and were decoded in windows, with timestamps"]


def checkpoint_record(checkpoint: Checkpoint) -> CheckpointRecord:
    """Return the record that identifies a checkpoint."""
    return CheckpointRecord(checkpoint.id, checkpoint.revision, checkpoint.sha256)


def model_record(config: Config, parents: Parents, decoder: DecoderRecord | None) -> ModelRecord:
    """Return the record of the models."""
    further = [checkpoint_record(checkpoint) for checkpoint in parents.further]
    return ModelRecord(
        name=config.model.name,
        target=checkpoint_record(parents.target),
        source=checkpoint_record(parents.source),
        decoder=decoder,
        base=None if parents.base is None else checkpoint_record(parents.base),
        further=further or None,
    )


def data_record(config: Config, audio: AudioStore, tested: int, in_windows: int) -> DataRecord:
    """Return the record of the data; ``tested`` is the number of examples."""
    corpus, is_speech = audio.corpus, config.model.task == "asr"
    return DataRecord(
        name=corpus.name,
        split=corpus.split,
        rule=corpus.rule,
        n=tested,
        seconds=round(sum(audio.samples) / RATE, 3),
        sha256=corpus.sha256,
        ids_sha256=corpus.ids_sha256,
        normalizer=config.data.normalizer if is_speech else None,
        skipped=list(corpus.skipped),
        language=config.data.language,
        metric=asr.metric(config) if is_speech else None,
        in_windows=in_windows,
    )


def extensions_record(job: Job) -> Extensions | None:
    """Return the entry about the user's own configurations and plug-ins; None if there are none."""
    configs = [ConfigFileRecord(file.name, file.place, file.sha256, file.hides) for file in job.own_files]
    plugins = [PluginRecord(plugin.name, plugin.sha256, plugin.version) for plugin in code_of(job.config)]
    return Extensions(configs, plugins) if configs or plugins else None


def merge_record(config: Config, measurement: Measurement, caveats: Sequence[str]) -> MergeRecord:
    """Return the record of the merge; ``caveats`` go between the notes on shapes and those on biases."""
    plan, report = measurement.plan, measurement.report
    options = plan.options
    return MergeRecord(
        method=options.method.name,
        control=options.control,
        lam=list(measurement.ended.lams),
        layers=plan.layers,
        parts=letters_of(plan.parts),
        pairing=options.pairing,
        pairs={str(layer): source for layer, source in plan.pairs.items()},
        bias=options.bias,
        tensors=report.tensors,
        parameters=report.parameters,
        notes=[*mismatch_notes(plan), *caveats, *report.notes],
        alpha=options.method.alpha if METHODS[options.method.name].needs_moments else None,
        calibration=config.calibration if reads_calibration(config) else None,
        draws=len(measurement.sides),
        heads=None if plan.heads is None else list(plan.heads),
        align=options.align,
        project=plan.project,
        parts_asked=letters_of(parse_parts(config.parts)),
        asked=merge_options(config),
        by_source=_by_source(measurement.ended) if plan.further else None,
    )


def _by_source(plan: MergePlan) -> list[SourceMerge]:
    """Return the merge of each source."""
    return [
        SourceMerge(list(one.lams), {str(layer): source for layer, source in one.pairs.items()}, one.project)
        for one in plan.each
    ]


def group_rows(tables: Sequence[GroupsRecord]) -> list[list[Any]]:
    """Return the groups as rows for ``groups.csv``, with the heading first; what is not defined is empty."""
    names = ("absolute", "p_value", "clusters", "unit", "changed", "better", "worse")
    rows: list[list[Any]] = [["by", "value", "examples", "rate", "baseline", "low", "high", "p_holm", *names]]
    for table in tables:
        for group in table.groups:
            low, high = (group.delta.ci95 if group.delta else None) or ("", "")
            own = [table.by, group.value, group.n, group.rate, group.baseline, low, high, group.p_holm]
            rows.append([*own, *(getattr(group.delta, name, "") for name in names)])
    return rows


def timing(loading: float, measurement: Measurement, baseline: Readings, audio_seconds: float) -> Timing:
    """Return the times of a run; ``loading`` and ``audio_seconds`` are in seconds."""
    evaluated = audio_seconds * len(measurement.sides)
    return Timing(
        load=round(loading, 4),
        merge=round(measurement.merging, 4),
        prefix=round(baseline.prefix + measurement.prefix, 4),
        evaluate=round(measurement.evaluating, 4),
        baseline=round(baseline.seconds, 4),
        audio_seconds=round(audio_seconds, 4),
        rtfx=round(evaluated / measurement.evaluating, 4),
    )
