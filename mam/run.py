"""One experiment from top to bottom: start reading here.

A pair of models, a data set, λ. The unmerged target is evaluated first (the baseline), then its attention is merged
with the source's (and, by ``train=``, fine-tuned) and it is evaluated again on the same examples; the difference comes
with its interval.
"""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from mam import __version__, processes
from mam.compose import Job
from mam.config import Config
from mam.data.audio import RATE
from mam.data.store import AudioStore
from mam.evaluation.diagnostics import diagnose
from mam.evaluation.measured import Measured
from mam.evaluation.workbench import Predictions, Workbench, device_of, environment
from mam.files import expanded, sha256_json
from mam.merge.apply import MergeReport
from mam.merge.controls import CONTROLS
from mam.merge.plan import MergePlan, heads_note, plan_merge
from mam.models.checkpoints import Checkpoint
from mam.record import SCHEMA, find_finished, open_run, read_result, refuse_unwritable, run_root
from mam.tasks import TASKS
from mam.tasks.task import Row

log = logging.getLogger("mam")


@dataclass(frozen=True)
class Outcome:
    """How a run ended: its folder and result, and whether they were there already."""

    status: Literal["finished", "skipped"]
    folder: Path
    result: dict[str, Any]


def run(job: Job, bench: Workbench, parent: Path | None = None) -> Outcome:
    """Run one job, or find it finished.

    Args:
        job: a checked configuration.
        bench: what is shared with other runs of the same process.
        parent: the folder that gets the run's folder; by default ``outputs/<date>``.

    Raises:
        MamError: anything the user can mend; no folder is left then.
    """
    config = job.config
    outputs = expanded(config.outputs)
    refuse_unwritable(outputs)
    if config.threads is not None:
        torch.set_num_threads(config.threads)

    processes.join()

    # What is asked for: data and checkpoints by content. The same question is answered once.
    corpus, is_trained = bench.corpus(config), config.train.name != "none"
    checkpoints = target_checkpoint, source_checkpoint = bench.checkpoints(config.model)
    question = {
        "config": job.resolved,
        "data": corpus.sha256,
        "target": target_checkpoint.fingerprint,
        "source": source_checkpoint.fingerprint,
        "mam": __version__,
        "device": device_of(config).type,
        "dtype": config.dtype,
    }
    if is_trained:
        from mam.training.fine_tune import fine_tune, taught  # accelerate needs seconds to import

        question["taught"] = taught(config, bench)
    run_hash = sha256_json(question)
    finished = processes.from_main(None if config.force else find_finished(outputs, job.signature, run_hash))
    if finished:
        return Outcome("skipped", finished, read_result(finished))

    # Everything that can be wrong with the input shows here, before a folder is made.
    audio = bench.audio(config)
    pair = bench.pair(config)
    plan = plan_merge(config, pair.target.depth, pair.source.layers)
    notes = heads_note(pair.target.heads, pair.source.heads, pair.target.width)
    notes += () if plan.is_identity else pair.target.caveats(target_checkpoint, plan.parts)

    task = TASKS[config.model.task]
    own_classes = pair.target.labels if pair.target.readout == "scores" else None
    task.check(config, audio, own_classes)

    if config.schedule.name != "constant" and parent is None:
        bench.terminal.say("λ by layer: " + " ".join(f"{layer}:{plan.lams[layer]:.4g}" for layer in plan.layers))

    with open_run(job, parent or run_root(config.outputs)) as folder:
        log.info("%s", command_of(job))
        baseline = bench.baseline(config, plan.first)

        if is_trained:
            made = fine_tune(config, bench, checkpoints, plan, question, folder, baseline)
        else:
            made = _zero_shot(config, bench, plan, baseline)
            folder.lambdas(plan.lams, plan.parts)
        report = pair.merger.apply(plan)
        pair.merger.restore()

        folder.predictions(made.sides, made.baseline)
        for name, rows in task.tables([row for side in made.sides for row in side], made.baseline).items():
            folder.table(name, rows)
        folder.table("attention", made.attention.table)
        result = {
            "schema": SCHEMA,
            "signature": job.signature,
            "hash": run_hash,
            "status": "finished",
            "command": command_of(job),
            "task": config.model.task,
            "model": {
                "name": config.model.name,
                "target": _identity(target_checkpoint),
                "source": _identity(source_checkpoint),
            },
            "data": _data(config, audio, len(made.baseline)),
            "merge": _merge(plan, report, notes, len(made.sides)) | {"lam": list(made.lams)},
            "head": made.head,
            "train": made.train,
            "tune": None,
            **scores(made.sides, made.baseline, config, made.notes, made.kind),
            "timing": _timing(pair.loading, made, baseline, sum(audio.seconds)),
            "env": environment(config),
            "seeds": {"bootstrap": config.seed, "control": config.seed}
            | ({"training": config.seed} if is_trained else {}),
        }
        folder.finish(result)
    return Outcome("finished", folder.path, result)


def _zero_shot(config: Config, bench: Workbench, plan: MergePlan, baseline: Predictions) -> Measured:
    """Merge and predict, once or once a draw of a random control. At λ=0 the baseline is the answer."""
    pair, audio, task = bench.pair(config), bench.audio(config), TASKS[config.model.task]
    merged, merging = [baseline], 0.0
    if not plan.is_identity:
        draws = config.control_draws if CONTROLS[config.control].is_random else 1
        merged = []
        for draw in range(draws):
            start = time.perf_counter()
            pair.merger.apply(plan_merge(config, pair.target.depth, pair.source.layers, draw))
            merging += time.perf_counter() - start
            label = f"merged, draw {draw + 1} of {draws}" if draws > 1 else "merged"
            merged.append(bench.predict(config, plan.first, label))
    attention = bench.attention(config, plan.layers)
    labels = pair.target.labels if pair.target.readout == "scores" else None
    judged = [task.judge(config, audio, side.items, baseline.items, labels) for side in merged]
    return Measured(
        sides=[one.merged for one in judged],
        baseline=judged[0].baseline,
        attention=attention,
        lams=plan.lams,
        notes=[*judged[0].notes, *attention.findings(plan.lams)],
        head=judged[0].head,
        merging=merging,
        evaluating=sum(side.seconds for side in merged),
        prefix=sum(side.prefix for side in merged if side is not baseline),
    )


def scores(
    merged: Sequence[Sequence[Row]],
    baseline: Sequence[Row],
    config: Config,
    notes: Sequence[str] = (),
    kind: str = "unmerged",
) -> dict[str, Any]:
    """The parts of ``result.json`` that follow from predictions alone: metrics, baseline, delta, diagnostics.

    ``merged`` has the predictions of each draw of a random control, else of the one merge; ``kind`` says what the
    baseline is, the ``unmerged`` target or regular fine-tuning (``ft``).

    Raises:
        DataError: no reference has a word left after normalisation.
    """
    scored = TASKS[config.model.task].score(config, merged, baseline)
    difference = scored.difference
    delta = asdict(difference) | {key: _pair(getattr(difference, key)) for key in ("ci95", "relative_ci95")}
    return {
        "metrics": scored.metrics,
        "baseline": {"kind": kind, **scored.baseline},
        "delta": delta | scored.beside,
        "diagnostics": diagnose(difference, [*scored.findings, *notes], config.data.note),
    }


def command_of(job: Job) -> str:
    """The command that makes this run again."""
    return shlex.join(["mam", "run", *job.overrides])


def _identity(checkpoint: Checkpoint) -> dict[str, str | None]:
    return {"id": checkpoint.id, "revision": checkpoint.revision, "sha256": checkpoint.sha256}


def _data(config: Config, audio: AudioStore, tested: int) -> dict[str, Any]:
    corpus = audio.corpus
    return {
        "name": corpus.name,
        "split": corpus.split,
        "rule": corpus.rule,
        "n": tested,
        "seconds": round(sum(audio.samples) / RATE, 3),
        "sha256": corpus.sha256,
        "ids_sha256": corpus.ids_sha256,
        "normalizer": config.data.normalizer if config.model.task == "asr" else None,
        "skipped": [asdict(skipped) for skipped in corpus.skipped],
    }


def _merge(plan: MergePlan, report: MergeReport, notes: tuple[str, ...], draws: int) -> dict[str, Any]:
    return {
        "method": plan.method,
        "control": plan.control,
        "draws": draws,
        "lam": list(plan.lams),
        "layers": plan.layers,
        "parts": "".join(plan.parts),
        "pairing": plan.pairing,
        "pairs": {str(layer): source for layer, source in plan.pairs.items()},
        "bias": plan.bias,
        "heads": None if plan.heads is None else list(plan.heads),
        "tensors": report.tensors,
        "parameters": report.parameters,
        "notes": [*notes, *report.notes],
    }


def _timing(loading: float, made: Measured, baseline: Predictions, audio_seconds: float) -> dict[str, float]:
    timing = {"load": loading, "merge": made.merging, "prefix": baseline.prefix + made.prefix}
    timing |= {"evaluate": made.evaluating, "baseline": baseline.seconds}
    timing |= {"audio_seconds": audio_seconds, "rtfx": audio_seconds * len(made.sides) / made.evaluating}
    return {name: round(seconds, 4) for name, seconds in timing.items()}


def _pair(ends: tuple[float | None, float | None] | None) -> list[float | None] | None:
    return None if ends is None else list(ends)
