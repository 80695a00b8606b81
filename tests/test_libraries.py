"""Large libraries are quiet from the moment of their import, and are not imported for it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mam import libraries

PROGRAM = """
import sys
from mam.libraries import quiet_libraries
quiet_libraries()
assert not {"transformers", "datasets", "torch"} & set(sys.modules)
import transformers, datasets
print(transformers.utils.logging.is_progress_bar_enabled(), datasets.are_progress_bars_disabled())
transformers.logging.get_logger("transformers.x").warning("a warning of transformers")
datasets.logging.get_logger("datasets.x").warning("a warning of datasets")
"""


def test_they_draw_and_print_nothing_once_they_are_imported():
    shown = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert (shown.returncode, shown.stdout) == (0, "False True\n"), shown.stderr
    assert "a warning" not in shown.stderr


def test_an_action_follows_the_import_once(tmp_path, monkeypatch):
    (tmp_path / "said.py").write_text("lines = ['module']\n")
    monkeypatch.syspath_prepend(tmp_path)
    done = []
    libraries.when_imported("said", lambda: done.append(list(sys.modules["said"].lines)))
    assert not done
    import said

    assert said.lines == ["module"] and done == [["module"]]
    libraries.when_imported("said", lambda: done.append("at once"))
    assert done[1:] == ["at once"]
    libraries.when_imported("not_there", lambda: pytest.fail("nothing of this name was imported"))
    with pytest.raises(ModuleNotFoundError):
        import not_there  # noqa: F401
