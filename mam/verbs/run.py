"""`mam run`: one run, a sweep, or a study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mam.errors import ConfigError
from mam.verbs.common import open_terminal

if TYPE_CHECKING:
    from pathlib import Path

    from mam.config.composer import Job
    from mam.config.study import StudyConfig
    from mam.launch.settings import Launcher
    from mam.studies.execute import Member
    from mam.terminal import Terminal

MULTIRUN = ("--multirun", "-m")
HYDRA_VALUES = ("job", "hydra", "all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
HELP = ("--help", "-h")
HYDRA_FLAGS = ("--hydra-help", "--cfg", "-c", "--info", "-i", "--resolve", "--package", "-p")


def main(argv: Sequence[str]) -> int:
    """Check the words and start the run, sweep or study."""
    if any(word in HELP for word in argv):
        from mam.verbs.help import show_help

        return show_help([word for word in argv if word not in HELP])
    words = [word for word in argv if ("=" in word or word.startswith("~")) and not word.startswith("-")]
    flags = [word for word in argv if word.startswith("-")]
    asks_hydra = any(flag.split("=")[0] in HYDRA_FLAGS for flag in flags)
    known = {*words, *MULTIRUN, *(flags if asks_hydra else ()), *(HYDRA_VALUES if asks_hydra else ())}
    stray = [word for word in argv if word not in known]
    if stray:
        raise ConfigError([f"{word}: neither key=value nor a flag of `mam run` (see mam run --help)" for word in stray])

    from mam.config.compose import jobs
    from mam.launch.settings import launcher_of, split_words

    words, launcher_words = split_words(words)
    if asks_hydra:
        if words:
            jobs(words)
        from mam.verbs.hydra import answer

        return answer(argv, ())
    multirun = any(flag in MULTIRUN for flag in flags)
    launcher = launcher_of(launcher_words)
    plan = jobs(words, multirun)
    studies = [job for job in plan.jobs if job.config.study.is_plan]
    if studies and multirun:
        raise ConfigError("experiment: a study is a plan of runs already. Leave --multirun out; vary study.axes.*")
    if studies:
        return _run_study(studies[0], launcher)
    if multirun:
        if plan.adds_baseline:
            print("lam=0, the baseline, was added to the sweep")
        return _run_sweep(plan.jobs, launcher)
    if launcher_words:
        raise ConfigError(f"{launcher_words[0]}: starts several runs. Say --multirun, or choose an experiment")
    return _run_one(plan.jobs[0])


def _run_one(job: Job) -> int:
    terminal = open_terminal()
    from mam.evaluation.workbench import Workbench
    from mam.processes import is_main
    from mam.report.lambdas import draw_lambdas
    from mam.report.run_table import show_run
    from mam.runs.run import run
    from mam.runs.shapes import with_shapes

    (job,) = with_shapes([job])
    outcome = run(job, Workbench(terminal))
    if outcome.status == "finished" and is_main():
        draw_lambdas(outcome.folder, outcome.result)
    if outcome.status == "skipped":
        terminal.say(f"skipped: finished already in {outcome.folder} (force=true runs it again)")
    show_run(terminal, outcome.result, outcome.folder)
    if job.config.track and outcome.status == "finished" and is_main():
        from mam.report.tracking import track

        track(outcome.folder, outcome.result, job.config.track)
    return 0


def _run_sweep(plan: Sequence[Job], launcher: Launcher) -> int:
    terminal = open_terminal()
    from mam.config.study import StudyConfig
    from mam.evaluation.workbench import Workbench
    from mam.launch.launch import launch
    from mam.runs.shapes import plan_with_shapes
    from mam.studies.analysis import MULTIRUN as NAME
    from mam.studies.execute import study_folder

    plan = plan_with_shapes(plan)
    folder = study_folder(plan, NAME)
    members = launch(plan, Workbench(terminal), folder, launcher)
    return _report(terminal, members, folder, StudyConfig(), NAME)


def _run_study(study: Job, launcher: Launcher) -> int:
    terminal = open_terminal()
    from mam.config.studies import study_jobs
    from mam.evaluation.workbench import Workbench
    from mam.launch.launch import launch
    from mam.runs.shapes import plan_with_shapes, with_shapes
    from mam.studies.execute import study_folder
    from mam.studies.pairs import words_of_pairs
    from mam.studies.preflight import refuse_incomplete
    from mam.studies.transfer import SECOND_STAGES

    (study,) = with_shapes([study])
    config = study.config.study
    plan = plan_with_shapes(study_jobs(study, words_of_pairs(config.pairs)))
    bench, folder = Workbench(terminal), study_folder(plan, config.name)
    if config.table != "none":
        refuse_incomplete(plan)

    def run_plan(jobs: Sequence[Job]) -> list[Member]:
        return launch(with_shapes(jobs), bench, folder, launcher)

    members = run_plan(plan)
    if config.then != "none":
        members = SECOND_STAGES[config.then](study, members, run_plan)
    return _report(terminal, members, folder, config, config.name)


def _report(terminal: Terminal, members: Sequence[Member], folder: Path, study: StudyConfig, name: str) -> int:
    """Show and record the results of a plan; return 0 if all of it ran."""
    from mam.processes import is_main
    from mam.report.paper import paper_table, show_paper_table, write_table_files
    from mam.report.study import report_study
    from mam.report.tracking import track

    finished = [member for member in members if member.outcome]
    if is_main():
        report_study(terminal, members, folder, study, name)
        if study.table != "none" and finished:
            table = paper_table(study, members)
            write_table_files(table, folder)
            show_paper_table(terminal, table)
        pictures = sorted(folder.glob("*.png"))  # pictures of the study are sent with its first run
        for member in finished:
            if member.job.config.track and member.outcome and member.outcome.status == "finished":
                track(member.outcome.folder, member.outcome.result, member.job.config.track, pictures)
                pictures = []
    failed = [member for member in members if member.error and not member.is_unfit]
    return 0 if finished and not failed else 1
