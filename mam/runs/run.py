"""One experiment from start to finish: start reading here.

The inputs are a pair of models, a data set and λ. The unmerged target is evaluated first (the baseline). Then its
attention is merged with the source's (and fine-tuned with ``train=``) and it is evaluated again on the same
examples. The difference is reported with its interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from mam import processes
from mam.config.job import Job
from mam.config.schema import Config
from mam.evaluation.devices import device_type
from mam.evaluation.inputs import Inputs
from mam.extensions import blaming, use
from mam.files import expanded, sha256_json
from mam.locks import claimed
from mam.memory import explained
from mam.records.folder import refuse_unwritable
from mam.runs.question import RunOutcome, claims_of, finished_run, question_of
from mam.tasks.groups import refuse_unknown_columns
from mam.training.resumption import folder_of, forget


@blaming()
@explained()
def run(job: Job, inputs: Inputs, parent: Path | None = None, waits: bool = True) -> RunOutcome:
    """Run one job, or return its earlier result.

    Args:
        job: a checked configuration whose shapes are filled in.
        inputs: shared with other runs of the same process.
        parent: the folder for the run's folder; by default ``outputs/<date>``.
        waits: wait for another command that is computing this run.

    Raises:
        MamError: anything that the user can fix. No folder is left then, except after an error in a plug-in.
        BusyError: another command is computing this run, and it is not to be waited for.
    """
    config = job.config
    use(config.plugins)
    refuse_unwritable(expanded(config.outputs))
    processes.join(device_type(config) == "cuda")

    inputs.cache(config)  # a folder that is no cache is refused here
    question = question_of(config, inputs)
    if config.evaluate.by:
        refuse_unknown_columns(config, inputs.corpus(config))
    with _claim(config, question, inputs, waits):
        finished = processes.from_main(finished_run(job, inputs, question))
        if finished:
            if processes.is_main():
                forget(folder_of(expanded(config.outputs), question))  # of a run that was killed when it had finished
            return finished
        from mam.runs.compute import compute  # imported here: a finished run is found without torch

        return compute(job, inputs, question, parent)


def _claim(config: Config, question: Mapping[str, Any], inputs: Inputs, waits: bool) -> AbstractContextManager[None]:
    """Return the context in which no other command computes this run; the others wait, and find it finished then."""
    if config.force or not processes.is_main():
        return nullcontext()

    def say() -> None:
        inputs.terminal.say("waiting for another process that is computing this run")

    return claimed(claims_of(config), sha256_json(question), say if waits else None)
