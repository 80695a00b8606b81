"""Tables for LaTeX: everything is escaped, numbers are aligned by siunitx, and LaTeX compiles what is written."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mam.report.latex import PREAMBLE, latex, tex

HEADS = ["λ", "control", "Δ points", "95 %", "WER", "p", "better/worse"]
ROWS = [
    ["0", "none", "baseline", "", "24.61 %", "", ""],
    ["0.05", "shrink_qk", "−0.57", "[−1.84, +0.70]", "124.03 %", "0.485", "10/5"],
    ["0.05 to 0.1", "50 % & {c}", "+10.00", "–", "8.00 %", "few", "1/0"],
]


def test_latex_escapes_everything():
    assert tex("50 % of a_b & {c} $5 #1 ~ ^ \\") == (
        r"50 \% of a\_b \& \{c\} \$5 \#1 \textasciitilde{} \textasciicircum{} \textbackslash{}"
    )
    assert tex("λ=0.1, Δ −1 <x>") == r"$\lambda$=0.1, $\Delta$ $-$1 \textless{}x\textgreater{}"


def test_columns_of_numbers_are_aligned_at_the_decimal_marker():
    lines = latex("a title", HEADS, ROWS).splitlines()
    assert lines[2] == (
        r"\begin{tabular}{S[table-format=1.2] l S[table-format=+2.2] l S[table-format=3.2] S[table-format=1.3] l}"
    )
    assert lines[4] == r"{$\lambda$} & control & {$\Delta$ points} & 95 \% & {WER (\%)} & {p} & better/worse \\"
    assert lines[6:9] == [
        r"0 & none & {baseline} &  & 24.61 &  &  \\",
        r"0.05 & shrink\_qk & -0.57 & [$-$1.84, +0.70] & 124.03 & 0.485 & 10/5 \\",
        r"{0.05 to 0.1} & 50 \% \& \{c\} & +10.00 & -- & 8.00 & {few} & 1/0 \\",
    ]


@given(st.lists(st.lists(st.text(max_size=6), min_size=2, max_size=2), min_size=1, max_size=3))
def test_every_row_has_its_cells(rows):
    lines = latex("t", ["a", "b"], rows).splitlines()
    body = [line for line in lines[lines.index(r"\midrule") + 1 : lines.index(r"\bottomrule")] if line.strip()]
    assert sum(line.count(r" \\") for line in body) >= len(rows)


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no LaTeX here")
def test_latex_compiles_it(tmp_path):
    packages = r"\usepackage{booktabs}\usepackage{siunitx}"
    text = PREAMBLE + "\n" + latex("λ ← 5 % of a_b", HEADS, ROWS)
    page = rf"\documentclass{{article}}{packages}\begin{{document}}{text}\end{{document}}"
    (tmp_path / "page.tex").write_text(page, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert made.returncode == 0 and (tmp_path / "page.pdf").stat().st_size > 5000, made.stdout[-2000:]
