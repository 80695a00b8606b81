"""The command line: verbs and argv, nothing else. torch is imported only by what computes."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mam.errors import ConfigError, MamError, choices

if TYPE_CHECKING:
    from mam.compose import Job
    from mam.launch.settings import Launcher
    from mam.terminal import Terminal

USAGE = """\
mam: merge the attention of one modality's Transformer into another's, and
measure what that does.

  mam run [key=value ...]            one run; without arguments the bundled
                                     demo, offline, on a CPU
  mam run --multirun lam=0,0.05,0.1  several runs; values between commas are
                                     combined
  mam run experiment=lambda_grid     a study: several runs and one table
  mam run train=lmam                 λ learnt while fine-tuning (train=finetune:
                                     λ fixed; lam=0: regular fine-tuning)
  mam run --help                     every group and key
  mam run --cfg job [key=value ...]  the configuration that would run
  mam inspect [key=value ...] [--json]
                                     what a merge would do: both attentions,
                                     pairs, λ, scales, warnings; no data
  mam merge [key=value ...] out=DIR  the merged model as a plain checkpoint,
                                     without any data
  mam score RUN [normalizer=NAME] [seed=N]
                                     score saved predictions again, without a
                                     model
  mam --shell-completion install=bash
                                     prints what eval needs to complete mam run
  mam --version
"""
MULTIRUN = ("--multirun", "-m")
MERGE_KEYS = (
    "model",
    "schedule",
    "layers",
    "method",
    "seed=",
    "lam=",
    "parts=",
    "bias=",
    "heads=",
    "pairing=",
    "control=",
)
HYDRA_VALUES = ("job", "hydra", "all", "config", "defaults", "defaults-tree", "plugins", "searchpath")
HYDRA_FLAGS = ("--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i", "--resolve", "--package", "-p")


def main() -> None:
    """Entry point of ``mam`` and ``python -m mam``. Exits with 0 done, 1 failed, 2 misconfigured, 130 stopped."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without λ shows ? for it
    try:
        code = _dispatch(sys.argv[1:])
        sys.stdout.flush()
        sys.exit(code)
    except MamError as error:
        print(f"mam: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("mam: stopped. Finished runs are kept; the same command finds them.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of a pipe went away, as `mam run | head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:  # what the system refuses and no room has said better
        place = f"{str(error.filename)[:200]}: " if error.filename else ""
        print(f"mam: {place}{error.strerror or error}. Check that it exists and may be used.", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _dispatch(argv: Sequence[str]) -> int:
    asks_help = [word in ("--help", "-h") for word in argv[:2]]
    if not argv or argv[0] == "help" or asks_help[0] or (argv[0] != "run" and any(asks_help)):
        print(USAGE, end="")
        return 0
    if argv[0] == "--version":
        from mam import __version__

        print(f"mam {__version__}")
        return 0
    if argv[0] in ("--shell-completion", "-sc"):
        return _hydra(argv)
    verbs: Mapping[str, Callable[[Sequence[str]], int]] = {
        "run": _run,
        "inspect": _inspect,
        "merge": _merge,
        "score": _score,
    }
    if argv[0] not in verbs:
        raise ConfigError(
            f"{argv[0]}: not a verb of mam. Choose one of: {choices(list(verbs))}. `mam --help` explains."
        )
    return verbs[argv[0]](argv[1:])


def _hydra(argv: Sequence[str]) -> int:
    """What Hydra itself answers: help, the composed configuration, information, shell completion."""
    import logging

    import hydra

    import mam.config  # noqa: F401  # registers the schema

    logging.raiseExceptions = False  # `mam run --info | head` is not worth a traceback

    def no_task(config: object) -> None:
        raise AssertionError("Hydra only answers questions here")

    line = os.environ.get("COMP_LINE", "").split(" ", 2)  # Hydra's completion knows programs, not verbs
    if len(line) == 2:
        print(" ".join(verb for verb in ("run", "inspect", "merge", "score") if verb.startswith(line[1])))
        return 0
    if len(line) == 3 and line[1] not in ("run", "inspect", "merge"):
        return 0
    if len(line) == 3:
        os.environ["COMP_LINE"] = f"{line[0]} {line[2]}"
    from mam.compose import verbatim

    sys.argv = [sys.argv[0], *(verbatim(word) for word in argv)]
    try:
        hydra.main(version_base="1.3", config_path="pkg://mam.conf", config_name="config")(no_task)()
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return 0


def _run(argv: Sequence[str]) -> int:
    words = [word for word in argv if ("=" in word or word.startswith("~")) and not word.startswith("-")]
    flags = [word for word in argv if word.startswith("-")]
    asks_hydra = any(flag.split("=")[0] in HYDRA_FLAGS for flag in flags)
    known = {*words, *MULTIRUN, *(flags if asks_hydra else ()), *(HYDRA_VALUES if asks_hydra else ())}
    stray = [word for word in argv if word not in known]
    if stray:
        raise ConfigError([f"{word}: neither key=value nor a flag of `mam run` (see mam run --help)" for word in stray])

    from mam.compose import jobs
    from mam.launch.settings import launcher_of, split_words
    from mam.plans import study_jobs

    words, where = split_words(words)
    if asks_hydra:
        if words:
            jobs(words)
        return _hydra(argv)
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
    terminal = _terminal()
    from mam.evaluation.workbench import Workbench
    from mam.processes import is_main
    from mam.report.lambdas import draw_lambdas
    from mam.report.tables import show_run
    from mam.run import run

    outcome = run(job, Workbench(terminal))
    if outcome.status == "finished" and is_main():
        draw_lambdas(outcome.folder, outcome.result)
    if outcome.status == "skipped":
        terminal.say(f"skipped: finished already in {outcome.folder} (force=true runs it again)")
    show_run(terminal, outcome.result, outcome.folder)
    return 0


def _run_many(plan: Sequence[Job], name: str, study: Job | None, launcher: Launcher) -> int:
    terminal = _terminal()
    from mam.evaluation.workbench import Workbench
    from mam.launch.launch import launch
    from mam.processes import is_main
    from mam.report.study import report_study
    from mam.studies.execute import study_folder
    from mam.studies.transfer import second_stage, without_rejected

    bench, folder = Workbench(terminal), study_folder(plan, name)
    ended = launch(plan, bench, folder, launcher)
    if study and name == "lambda_transfer":
        ended = without_rejected([*ended, *launch(second_stage(study, ended), bench, folder, launcher)])
    if is_main():
        report_study(terminal, ended, folder, name)
    return 1 if any(end.error for end in ended) else 0


def _inspect(argv: Sequence[str]) -> int:
    words = [word for word in argv if word != "--json"]
    found = _without_meaning("inspect", words)
    if found:
        raise ConfigError(found)

    import json

    from mam.compose import jobs

    config = jobs(words)[0].config
    terminal = _terminal()
    from mam.evaluation.pair import checked_source_and_target
    from mam.inspection import inspect
    from mam.report.inspection import show_inspection

    target, source = checked_source_and_target(config.model)
    with terminal.status("reading both attentions"):
        inspected = inspect(config, target, source)
    if "--json" in argv:
        terminal.say(json.dumps(inspected.as_dict(), indent=2, ensure_ascii=False))
    else:
        show_inspection(terminal, inspected)
    return 0


def _without_meaning(verb: str, words: Sequence[str]) -> list[str]:
    """What is said to a verb that only merges."""
    meaningless = [word for word in words if not word.startswith(MERGE_KEYS)]
    return [f"{word}: has no meaning for mam {verb}, which reads no data" for word in meaningless]


def _merge(argv: Sequence[str]) -> int:
    outs = [word.partition("=")[2] for word in argv if word.startswith("out=")]
    words = [word for word in argv if not word.startswith("out=")]
    found = _without_meaning("merge", words)
    if len(outs) != 1 or not outs[0]:
        found.append("out: say once where the merged checkpoint goes, out=DIR")
    if found:
        raise ConfigError(found)

    from mam.compose import jobs

    config = jobs(words)[0].config
    terminal = _terminal()
    from mam.evaluation.pair import checked_source_and_target
    from mam.files import expanded
    from mam.merge.checkpoint import merge_checkpoint
    from mam.merge.plan import heads_note, plan_merge
    from mam.models.targets import TARGETS

    target, source = checked_source_and_target(config.model)
    plan = plan_merge(config, config.model.target_shape.layers, source.layers)
    with terminal.status("merging"):
        report = merge_checkpoint(target, source, plan, expanded(outs[0]))
    terminal.say(f"merged {report.tensors} tensors, {report.parameters:,} parameters, into {outs[0]}")
    shapes = config.model.target_shape, config.model.source_shape
    caveats = () if plan.is_identity else TARGETS[target.model_type].caveats(target, plan.parts)
    for note in (*heads_note(shapes[0].heads, shapes[1].heads, shapes[0].width), *caveats, *report.notes):
        terminal.say(note)
    return 0


def _score(argv: Sequence[str]) -> int:
    folders = [word for word in argv if "=" not in word]
    options = dict(word.split("=", 1) for word in argv if "=" in word)
    unknown = [key for key in options if key not in ("normalizer", "seed")]
    if len(folders) != 1 or unknown:
        wrong = f"{', '.join(unknown)}: not known; " if unknown else ""
        raise ConfigError(f"{wrong}say: mam score RUN [normalizer=NAME] [seed=N]")
    terminal = _terminal()
    from mam.report.tables import show_run
    from mam.rescore import rescore

    result, path = rescore(Path(folders[0]), options.get("normalizer"), options.get("seed"))
    show_run(terminal, result, path)
    return 0


def _terminal() -> Terminal:
    """The terminal; from here on the libraries talk to mam.log, not to it."""
    from mam.terminal import Terminal, quiet_libraries

    quiet_libraries()
    return Terminal(quiet=os.environ.get("RANK", "0") != "0")  # of several processes one talks


if __name__ == "__main__":
    main()
