"""`mam run`: one run, a sweep, or a study."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from mam.errors import ConfigError
from mam.verbs.common import open_terminal

if TYPE_CHECKING:
    from mam.config.compose import Job
    from mam.launch.settings import Launcher

MULTIRUN = ("--multirun", "-m")
HYDRA_VALUES = ("job", "hydra", "all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
HYDRA_FLAGS = ("--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i", "--resolve", "--package", "-p")


def main(argv: Sequence[str]) -> int:
    """Sort the words, check them, run."""
    words = [word for word in argv if ("=" in word or word.startswith("~")) and not word.startswith("-")]
    flags = [word for word in argv if word.startswith("-")]
    asks_hydra = any(flag.split("=")[0] in HYDRA_FLAGS for flag in flags)
    known = {*words, *MULTIRUN, *(flags if asks_hydra else ()), *(HYDRA_VALUES if asks_hydra else ())}
    stray = [word for word in argv if word not in known]
    if stray:
        raise ConfigError([f"{word}: neither key=value nor a flag of `mam run` (see mam run --help)" for word in stray])

    from mam.config.compose import jobs
    from mam.config.plans import study_jobs
    from mam.launch.settings import launcher_of, split_words

    words, where = split_words(words)
    if asks_hydra:
        if words:
            jobs(words)
        from mam.verbs.hydra import answer

        return answer(argv, ())
    multirun = any(flag in MULTIRUN for flag in flags)
    launcher = launcher_of(where)
    plan = jobs(words, multirun)
    if "lam=0" in {word for job in plan for word in job.overrides} and not _says_zero(words):
        print("lam=0, the baseline, was added to the sweep")
    name, study = "multirun", None
    if any(job.config.study.axes or job.config.study.arms or job.config.study.pairs for job in plan):
        if multirun:
            raise ConfigError("experiment: a study is a plan of runs already. Leave --multirun out; vary study.axes.*")
        study = plan[0]
        name, pairs = study.config.study.name, None
        if study.config.study.pairs:
            from mam.studies.pairs import words_of_pairs

            pairs = words_of_pairs(study.config.study.pairs)
        plan = study_jobs(study, pairs)
    elif not multirun:
        if where:
            raise ConfigError(f"{where[0]}: starts several runs. Say --multirun, or choose an experiment")
        return _run_one(plan[0])
    return _run_many(plan, name, study, launcher)


def _says_zero(words: Sequence[str]) -> bool:
    lams = [value for word in words if word.startswith("lam=") for value in word.removeprefix("lam=").split(",")]
    return any(value.replace(".", "").strip("0") == "" for value in lams)


def _run_one(job: Job) -> int:
    terminal = open_terminal()
    from mam.evaluation.workbench import Workbench
    from mam.processes import is_main
    from mam.report.lambdas import draw_lambdas
    from mam.report.tables import show_run
    from mam.runs.run import run

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


def _run_many(plan: Sequence[Job], name: str, study: Job | None, launcher: Launcher) -> int:
    terminal = open_terminal()
    from mam.evaluation.workbench import Workbench
    from mam.launch.launch import launch
    from mam.processes import is_main
    from mam.report.paper import is_table, paper_table, show_paper_table, write_paper_table
    from mam.report.study import report_study
    from mam.report.tracking import track
    from mam.studies.execute import study_folder
    from mam.studies.preflight import refuse_incomplete
    from mam.studies.transfer import second_stage, without_rejected

    bench, folder = Workbench(terminal), study_folder(plan, name)
    if is_table(name):
        refuse_incomplete(plan)
    ended = launch(plan, bench, folder, launcher)
    if study and name == "lambda_transfer":
        ended = without_rejected([*ended, *launch(second_stage(study, ended), bench, folder, launcher)])
    if is_main():
        report_study(terminal, ended, folder, name)
        if is_table(name) and any(end.outcome for end in ended):
            table = paper_table(name, ended)
            write_paper_table(table, folder)
            show_paper_table(terminal, table)
        pictures = sorted(folder.glob("*.png"))  # of the study: they go with its first run
        for end in ended:
            if end.job.config.track and end.outcome and end.outcome.status == "finished":
                track(end.outcome.folder, end.outcome.result, end.job.config.track, pictures)
                pictures = []
    is_whole = any(end.outcome for end in ended) and not any(end.error and not end.is_unfit for end in ended)
    return 0 if is_whole else 1
