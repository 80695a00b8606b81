"""Whether there is a GPU is known without torch where there can be none, and is what torch says elsewhere."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from mam.evaluation import devices


@pytest.fixture
def version(tmp_path, monkeypatch):
    """An installed torch that says this in its ``version.py``."""
    devices._is_built_for_gpus.cache_clear()

    def install(text: str | None) -> None:
        if text is not None:
            (tmp_path / "version.py").write_text(text)
        monkeypatch.setattr(devices, "find_spec", lambda name: SimpleNamespace(origin=str(tmp_path / "__init__.py")))

    yield install
    devices._is_built_for_gpus.cache_clear()


@pytest.mark.parametrize(
    ("text", "is_built"),
    [
        ("__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None\nhip: Optional[str] = None\n", False),
        ("__version__ = '2.13.0'\ncuda: Optional[str] = '13.0'\nhip: Optional[str] = None\n", True),
        ("cuda = None\nhip = '6.4'\n", True),
        ("__version__ = '2.13.0'\n", True),  # it does not say: torch is asked
        (None, True),
    ],
)
def test_the_build_is_read_in_its_version(text, is_built, version):
    version(text)
    assert devices._is_built_for_gpus() == is_built


def test_the_answer_is_torchs(monkeypatch):
    assert devices._has_gpu() == torch.cuda.is_available()
    monkeypatch.setattr(devices, "DRIVERS", ("/",))
    monkeypatch.setattr(devices, "_is_built_for_gpus", lambda: True)
    for answer in (True, False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda answer=answer: answer)
        assert devices._has_gpu() == answer
    monkeypatch.setattr(torch.cuda, "is_available", lambda: pytest.fail("there is no driver"))
    monkeypatch.setattr(devices, "DRIVERS", ("/dev/nothing-of-this-name",))
    assert not devices._has_gpu()
