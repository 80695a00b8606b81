"""The command line as a person meets it: in a process of its own, in a pipe, with exit codes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from support.runs import mam

from mam import __version__
from mam.verbs import VERBS


def test_help_names_the_verbs():
    for argv in ([], ["--help"], ["-h"]):
        shown = mam(*argv)
        assert shown.returncode == 0 and all(f"\n  {verb:<9}{said}\n" in shown.stdout for verb, said in VERBS.items())
        assert max(map(len, shown.stdout.splitlines())) <= 80
    assert mam("--version").stdout == f"mam {__version__}\n"


def test_hydras_own_questions_are_answered():
    job = mam("run", "--cfg", "job", "lam=0.3", "model=hubert_bert").stdout
    assert "lam: 0.3" in job and "target: facebook/hubert-large-ls960-ft" in job
    assert "model/demo_hubert_bert" in mam("run", "--info", "defaults").stdout
    path = mam("run", "--cfg", "job", "data=audiofolder", "data.root=/a b,(c) [d]").stdout
    assert "root: /a b,(c) [d]" in path
    for words in (["--cfg", "layers"], ["--cfg", "job", "~lam"], ["--resolve"]):
        odd = mam("run", *words)
        assert odd.returncode == 2 and "Traceback" not in odd.stderr, odd.stderr
    wrong = mam("run", "--cfg", "job", "lam=3")
    assert wrong.returncode == 2 and "lam=3" in wrong.stderr


def test_shell_completion():
    assert "complete -o nospace" in mam("--shell-completion", "install=bash").stdout
    assert mam("-sc", "query=bash", COMP_LINE="mam run model=whisper_d").stdout.split() == ["model=whisper_dinov2"]
    assert "lam=" in mam("-sc", "query=bash", COMP_LINE="mam run la").stdout.split()
    assert mam("-sc", "query=bash", COMP_LINE="mam r").stdout.split() == ["run", "report"]
    assert mam("-sc", "query=bash", COMP_LINE="mam score o").stdout == ""


def test_wrong_words_are_answered_at_once_with_exit_code_two():
    answer = mam("run", "lamm=1", "lam=1.5", "model=foo", "--fast", "stray")
    assert answer.returncode == 2 and answer.stdout == "" and "Traceback" not in answer.stderr
    assert "--fast: neither key=value nor a flag" in answer.stderr and "stray: neither" in answer.stderr
    answer = mam("run", "lamm=1", "lam=1.5", "model=foo")
    assert answer.returncode == 2 and "\nmam: 3 problems:\n  - lamm: there is no such key" in answer.stderr
    unknown = mam("walk")
    assert unknown.returncode == 2
    assert "Choose one of: cache, compare, export, inspect, list, ls, merge, push, report, run, score" in unknown.stderr


def test_a_run_in_a_pipe_is_plain_and_fits_eighty_columns(words):
    shown = mam("run", *words, "lam=0.5")
    assert shown.returncode == 0 and shown.stderr.split() == [
        "mam",
        "run",
        *words,
        "lam=0.5",
    ]  # what was asked, at once
    assert "\x1b" not in shown.stdout
    lines = shown.stdout.splitlines()
    table = [line for line in lines if not line.startswith(("note", "files", "data"))]
    assert max(len(line.rstrip()) for line in table) <= 80
    assert any(line.startswith("baseline λ=0") for line in lines) and any(
        line.startswith("merged λ=0.5") for line in lines
    )
    assert re.search(r"Δ WER [+−]\d+\.\d\d points(: 0 of 5 utterances changed|, 95 % \[)", shown.stdout)
    assert re.search(r"^  5 utterances, (none with|\d changed)", shown.stdout, re.MULTILINE)
    folder = Path(next(line for line in lines if line.startswith("files")).split()[1])
    assert json.loads((folder / "result.json").read_text())["command"].endswith("lam=0.5")
    again = mam("run", *words, "lam=0.5")
    assert (
        again.stdout.startswith(f"skipped: this run has finished already, in {folder}")
        and "baseline λ=0" in again.stdout
    )


def test_the_recorded_command_makes_the_run_again(words):
    first = mam("run", *words, "lam=0.5")
    folder = Path(next(line for line in first.stdout.splitlines() if line.startswith("files")).split()[1])
    command = json.loads((folder / "result.json").read_text())["command"]
    shell = subprocess.run(
        command.replace("mam run", f"{sys.executable} -m mam run"), shell=True, capture_output=True, text=True
    )
    assert shell.stdout.startswith(f"skipped: this run has finished already, in {folder}")


def test_bad_data_is_one_message_and_exit_code_one(words):
    answer = mam("run", *words, "data.root=/none")
    assert (answer.returncode, answer.stdout) == (1, "")
    assert "\nmam: data.root=/none: there is no such folder." in answer.stderr and "Traceback" not in answer.stderr


def test_multirun_makes_runs_then_skips_them(words):
    first = mam("run", "--multirun", *words, "lam=0,0.3,0.6")
    assert first.returncode == 0 and first.stdout.endswith("5 runs: 5 finished now, 0 skipped, 0 failed\n")
    assert len(list(Path("outputs").rglob("result.json"))) == 5
    rows = [line for line in first.stdout.splitlines() if re.match(r"0(\.\d)? ", line)]
    assert len(rows) == 5 + 2 and "baseline" in rows[0], "five runs, and the source against shrink at two λ"
    assert "too few controls to tell whether the source's content matters: that takes shrink," in first.stdout
    assert (
        max(len(line) for line in first.stdout.splitlines() if not line.startswith(("all with", "note", "too few")))
        <= 80
    )
    assert first.stdout.count("baseline λ=0: WER") == 1
    assert all(line == line.rstrip() for line in first.stdout.splitlines())
    again = mam("run", "-m", *words, "lam=0,0.3,0.6")
    assert again.stdout.endswith("5 runs: 0 finished now, 5 skipped, 0 failed\n")
    assert len(list(Path("outputs").rglob("result.json"))) == 5


def test_multirun_with_a_failure_says_which_and_exits_with_one(words, clips, tmp_path):
    answer = mam("run", "--multirun", *words, f"data.root={clips},{tmp_path / 'gone'}")
    assert answer.returncode == 1
    assert "4 runs: 2 finished now, 0 skipped, 2 failed" in answer.stdout
    assert f"{tmp_path / 'gone'}: there is no such folder" in answer.stderr.replace("\n", " ")


def test_a_study_is_not_swept(words):
    answer = mam("run", "--multirun", *words, "experiment=lambda_grid", "seed=0,1")
    assert answer.returncode == 2 and "Leave --multirun out" in answer.stderr


def test_score(words):
    first = mam("run", *words, "lam=0.5")
    folder = next(line for line in first.stdout.splitlines() if line.startswith("files")).split()[1]
    scored = mam("score", folder, "normalizer=none", "seed=4")
    assert scored.returncode == 0 and (Path(folder) / "score-none-seed4.json").is_file()
    for argv in ([], [folder, "norm=none"], [folder, folder]):
        assert mam("score", *argv).returncode == 2
    assert mam("score", "nowhere").returncode == 1


def test_names_are_not_markup_and_a_poor_terminal_gets_question_marks(words):
    shown = mam("run", *words, 'data.name="[/foo]"', PYTHONIOENCODING="ascii")
    assert shown.returncode == 0, shown.stderr
    assert "on [/foo], all" in shown.stdout and "baseline ?=0" in shown.stdout


def test_what_the_system_refuses_is_one_message(words):
    for word in (
        f"data.root={'x' * 300}",
        "data.root=~nobodyxyz/x",
        f"model.target={'y/' * 200}",
        f"outputs={'z' * 300}",
    ):
        answer = mam("run", *words, word)
        assert answer.returncode == 1 and "Traceback" not in answer.stderr and "\nmam: " in answer.stderr
    assert mam("score", "x" * 300).returncode == 1


def test_stopping_is_not_a_traceback(words):
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import mam.cli; mam.cli._dispatch = lambda a: (_ for _ in ()).throw(KeyboardInterrupt); mam.cli.main()",
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    _, error = process.communicate()
    assert process.returncode == 130 and error.startswith("mam: stopped.")
