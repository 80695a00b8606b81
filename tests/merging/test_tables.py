"""The tables of names: read without torch, and one function for each name."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mam.merging import controls, fits, methods, project
from mam.merging.lambdas import RULES
from mam.merging.tables import ALIGNMENTS, CONSTRAINTS, CONTROLS, METHODS, PROJECTS, summary_of

TABLES = {
    "methods": (METHODS, methods.MERGES),
    "controls": (CONTROLS, controls.SUBSTITUTES),
    "alignments": (ALIGNMENTS, fits.FITS),
    "projections": (PROJECTS, project.STREAMS),
    "constraints": (CONSTRAINTS, RULES),
}


@pytest.mark.parametrize(("names", "functions"), TABLES.values(), ids=TABLES)
def test_every_name_has_its_function_and_every_function_its_name(names, functions):
    assert set(names) == set(functions)


@pytest.mark.parametrize("module", ["tables", "options"])
def test_what_a_configuration_is_checked_with_is_read_without_torch(module):
    script = f"import sys, mam.merging.{module}; print('torch' in sys.modules, 'transformers' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["False", "False"]


@pytest.mark.parametrize(
    ("functions", "table"),
    [
        ({name: getattr(methods, name) for name in METHODS}, METHODS),
        (controls.SUBSTITUTES, CONTROLS),
        ({name: entry.fit for name, entry in fits.FITS.items()}, ALIGNMENTS),
        (project.STREAMS, PROJECTS),
    ],
    ids=["methods", "controls", "alignments", "projections"],
)
def test_a_name_is_summed_up_as_its_function_is(functions, table):
    for name, traits in table.items():
        assert (traits if isinstance(traits, str) else traits.summary) == summary_of(functions[name])
