"""`mam score`: the same predictions again, and only those."""

from __future__ import annotations

import pytest
from support.runs import once

from mam.errors import MamError, RecordError
from mam.runs.rescore import rescore


def test_rescoring_is_written_beside_and_never_over(words):
    outcome = once([*words, "lam=0.5", "data.normalizer=none"])
    before = (outcome.folder / "result.json").read_bytes()
    result, path = rescore(outcome.folder, "hubert_english", "3")
    assert path.name == "score-hubert_english-seed3.json"
    assert result.data.normalizer == "hubert_english" and result.seeds.bootstrap == 3
    assert (outcome.folder / "result.json").read_bytes() == before
    written = path.read_bytes(), path.stat().st_mtime_ns
    assert rescore(outcome.folder, "hubert_english", "3") == (result, path)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == written
    path.write_text(path.read_text().replace('"seed', '"Seed', 1))
    with pytest.raises(RecordError, match="already exists and was made by other code"):
        rescore(outcome.folder, "hubert_english", "3")
    same, _ = rescore(outcome.folder, None, None)
    assert same.metrics == outcome.result.metrics and same.delta == outcome.result.delta


def test_rescoring_refuses(words, tmp_path):
    outcome = once(words)
    for options, message in ((("english", None), "data.normalizer=english: not known"), ((None, "x"), "x")):
        with pytest.raises(MamError, match=message):
            rescore(outcome.folder, *options)
    with pytest.raises(RecordError, match="is not a finished run"):
        rescore(tmp_path, None, None)
    config = (outcome.folder / ".hydra" / "config.yaml").read_text()
    for broken in ("a: [", "x: ${x", "\udcff"):
        (outcome.folder / ".hydra" / "config.yaml").write_text(broken, errors="surrogateescape")
        with pytest.raises(MamError):
            rescore(outcome.folder, None, None)
    (outcome.folder / ".hydra" / "config.yaml").write_text(config)
    lines = (outcome.folder / "baseline.jsonl").read_text().splitlines()
    for broken in ("[]", '{"id": "a"}', lines[0].replace('"prediction": "', '"prediction": 5, "x": "')):
        (outcome.folder / "baseline.jsonl").write_text("\n".join([broken, *lines[1:]]))
        with pytest.raises(MamError, match="line 1"):
            rescore(outcome.folder, None, None)
    (outcome.folder / "baseline.jsonl").write_text("\n".join(reversed(lines)))
    with pytest.raises(RecordError, match="have different examples or references"):
        rescore(outcome.folder, None, None)
