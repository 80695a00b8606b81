"""The notebook of the documentation runs from top to bottom, and shows a table and a picture."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mam.interface import experiments

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")
kernelspec = pytest.importorskip("jupyter_client.kernelspec")

NOTEBOOK = Path(__file__).parents[1] / "docs" / "quickstart.ipynb"


@pytest.fixture
def notebook():
    content = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(content)
    return content


def code_cells(content):
    return [cell for cell in content.cells if cell.cell_type == "code"]


def test_it_is_saved_without_outputs(notebook):
    assert len(notebook.cells) == 10
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code_cells(notebook))
    assert all(len(cell.source.splitlines()) <= 20 for cell in notebook.cells)


@pytest.mark.skipif(not hasattr(experiments, "results"), reason="mam.results comes with the tables of runs")
def test_it_runs_and_shows_a_table_and_a_picture(notebook):
    try:
        kernelspec.get_kernel_spec("python3")
    except kernelspec.NoSuchKernel:
        pytest.skip("no kernel python3 (pip install ipykernel)")
    run_here(notebook)
    demo, numbers, table, picture, own, live = map(outputs_of, code_cells(notebook))
    shapes = [[output.output_type for output in cell.outputs] for cell in code_cells(notebook)[1:]]
    assert shapes == [["stream"], ["execute_result"], ["display_data"], ["stream"], ["stream"]]  # mam prints nothing
    assert "merged λ=0.05: WER 24.03 %, baseline 24.61 %" in demo["text"]
    assert "difference -0.57 points, 95 % [-1.84, +0.70]" in numbers["text"]
    shown = table["text/html"]
    assert len(re.findall("<tr", shown)) == 1 + 9, shown  # the baseline, four λ, and shrink at each
    assert re.findall("<th>([a-z_]+)</th>", shown) == [
        *("lam", "control", "rate", "baseline", "delta", "ci_low", "ci_high", "p_value")
    ]
    assert shown.count("<td>shrink</td>") == 4
    assert len(picture["image/png"]) > 5000
    assert "merged λ=0.2: WER" in own["text"]
    assert live["text"].endswith("restored: True\n")


def run_here(content):
    """Run all cells in the working directory; a cell that fails raises."""
    client = nbclient.NotebookClient(content, timeout=600, kernel_name="python3", resources={"metadata": {"path": "."}})
    client.execute()


def outputs_of(cell):
    """What a cell shows, by type; "text" is what it prints."""
    shown = {"text": ""}
    for output in cell.outputs:
        if output.output_type == "stream" and output.name == "stdout":
            shown["text"] += output.text
        elif output.output_type in ("display_data", "execute_result"):
            shown |= output.data
    return shown
