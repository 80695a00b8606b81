"""Starting one run, a sweep or a study; the command line and Python share this."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mam.config.job import Job
from mam.config.studies import study_jobs
from mam.config.study import StudyConfig
from mam.evaluation.inputs import Inputs
from mam.launch.launch import launch
from mam.launch.request import Request
from mam.processes import is_main
from mam.report.lambdas import draw_lambdas
from mam.report.paper import paper_table, show_paper_table, write_table_files
from mam.report.paper_table import TABLE
from mam.report.study import report_study
from mam.report.tracking import track
from mam.runs.question import RunOutcome
from mam.runs.run import run
from mam.runs.shapes import plan_with_shapes, with_shapes
from mam.studies.analysis import MULTIRUN
from mam.studies.execute import Member, study_folder
from mam.studies.pairs import words_of_pairs
from mam.studies.preflight import refuse_incomplete
from mam.studies.stages import SECOND_STAGES
from mam.terminal import Terminal

if TYPE_CHECKING:  # it imports torch, without which a finished study is shown
    from mam.merging.similarity import LayerSimilarities


def run_one(job: Job, terminal: Terminal) -> RunOutcome:
    """Run one job, draw its learnt λ and send it to trackers; raises MamError."""
    (job,) = with_shapes([job])
    outcome = run(job, Inputs(terminal))
    if outcome.status == "finished" and is_main():
        draw_lambdas(outcome.folder, outcome.result)
        if job.config.track:
            track(outcome.folder, outcome.result, job.config.track)
    return outcome


def run_several(asked: Request, terminal: Terminal) -> list[Member]:
    """Run a sweep or a study, write its tables and pictures, and show them.

    Raises:
        MamError: Nothing could be started. A run that fails does not stop the others; its member has the error.
    """
    if asked.study is None:
        plan = plan_with_shapes(asked.plan.jobs)
        folder = study_folder(plan, MULTIRUN)
        members = launch(plan, Inputs(terminal), folder, asked.launcher)
        _report(terminal, members, folder, StudyConfig(), MULTIRUN)
        return members
    (study,) = with_shapes([asked.study])
    config = study.config.study
    plan = plan_with_shapes(study_jobs(study, words_of_pairs(config.pairs)))
    inputs, folder = Inputs(terminal), study_folder(plan, config.name)
    similarities = _similarities(study, terminal)  # first: what cannot be measured is refused before any run
    if config.table != "none":
        refuse_incomplete(plan)

    def run_plan(jobs: Sequence[Job]) -> list[Member]:
        return launch(with_shapes(jobs), inputs, folder, asked.launcher)

    members = run_plan(plan)
    if config.then != "none":
        members = SECOND_STAGES[config.then](study, members, run_plan)
    _report(terminal, members, folder, config, config.name, similarities)
    return members


def _similarities(study: Job, terminal: Terminal) -> list[LayerSimilarities]:
    """Return the similarities of the layers of both models, if the study shows them."""
    if "similarity" not in study.config.study.show:
        return []
    from mam.evaluation.workbench import Workbench  # imported here: few studies load models themselves

    return Workbench(terminal).activations(study.config).similarities()


def _report(
    terminal: Terminal,
    members: Sequence[Member],
    folder: Path,
    study: StudyConfig,
    name: str,
    similarities: Sequence[LayerSimilarities] = (),
) -> None:
    """Show and record the results of a plan; for ``similarities`` see `analyse`."""
    if not is_main():
        return
    finished = [member for member in members if member.outcome]
    recorded = report_study(terminal, members, folder, study, name, similarities)
    if study.table != "none" and finished:
        table = paper_table(study, members)
        if recorded == folder or not (recorded / TABLE).is_file():
            write_table_files(table, recorded)
        show_paper_table(terminal, table)
    pictures = sorted(recorded.glob("*.png"))  # pictures of the study are sent with its first run
    for member in finished:
        if member.job.config.track and member.outcome and member.outcome.status == "finished":
            track(member.outcome.folder, member.outcome.result, member.job.config.track, pictures)
            pictures = []
