"""Data sets of the hub that cannot be read: every refusal with its remedy."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from datasets import Audio, Dataset
from datasets.exceptions import DatasetNotFoundError
from huggingface_hub import constants
from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError
from support.hub import config, write_cells, write_part
from support.runs import jobs

from mam.data import hub as hub_module
from mam.data.corpus import open_corpus
from mam.data.hub_errors import is_offline
from mam.data.hub_offline import kept_in
from mam.data.store import AudioStore
from mam.errors import ConfigError, DataError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


BAD_COLUMNS = {
    "two of audio": (
        {"text": ["A"]},
        "asr",
        "has several columns of audio, audio, more; its columns are: .*data.columns.audio=NAME",
    ),
    "no text": (
        {"words": ["A"]},
        "asr",
        r"has no column with a known name for text. Its columns are: audio, words. Set data.columns.text=NAME",
    ),
    "no label": ({"text": ["A"]}, "events", "has no column with a known name for label"),
}


@pytest.fixture
def online(monkeypatch):
    """The hub is asked; what it answers is made up."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


@pytest.mark.parametrize(("columns", "task", "message"), BAD_COLUMNS.values(), ids=BAD_COLUMNS)
def test_columns_that_are_missing_or_ambiguous(columns, task, message, place, clips):
    path = write_part(place / "test.parquet", clips[:1], **columns)
    if "several" in message:
        made = Dataset.from_parquet(str(path)).cast_column("audio", Audio(decode=False))
        made = made.add_column("more", [{"bytes": clips[0].read_bytes(), "path": "m.wav"}])
        made.cast_column("more", Audio(decode=False)).to_parquet(path)
    with pytest.raises(DataError, match=message):
        open_corpus(config(place), task)


def test_no_audio_at_all(place):
    (place).mkdir()
    Dataset.from_dict({"text": ["A"], "audio": ["a.wav"]}).to_parquet(place / "test.parquet")
    with pytest.raises(DataError, match="has no column of audio; its columns are: text, audio"):
        open_corpus(config(place))


def test_paths_without_recordings(place):
    write_cells(place / "test.parquet", [{"bytes": None, "path": "/far/away.wav"}], text=["a"])
    with pytest.raises(DataError, match="column audio has file names but no recordings.*data=audiofolder data.root="):
        open_corpus(config(place))


def test_a_cell_that_is_null_is_a_recording_that_is_missing(place, clips):
    cells = [{"bytes": clips[0].read_bytes(), "path": "a.wav"}, None, {"bytes": None, "path": "b.wav"}]
    write_cells(place / "test.parquet", cells, text=["A", "B", "C"])
    corpus = open_corpus(config(place))
    with pytest.raises(DataError, match=r"(?s)row 1: .* its cell is empty.*row 2: .* only the path 'b.wav'"):
        AudioStore.checked(corpus, 16000, 10**9, "stop")
    store = AudioStore.checked(corpus, 16000, 10**9, "skip")
    assert store.corpus.column("text") == ["A"] and len(store.corpus.skipped) == 2


def test_no_rows(place):
    write_cells(place / "test.parquet", [], text=[])
    with pytest.raises(DataError, match="the requested part has no rows"):
        open_corpus(config(place))
    assert not list(place.parent.glob("datasets/mam/*.arrow")) + list(place.parent.glob("datasets/mam/.*.arrow*"))


def test_a_configuration_that_is_missing(place, clips):
    for name in ("en", "de"):
        write_part(place / name / "test.parquet", clips[:1], text=[name])
    readme = "---\nconfigs:\n" + "".join(
        f"- config_name: {name}\n  data_files:\n  - split: test\n    path: {name}/test.parquet\n"
        for name in ("en", "de")
    )
    (place / "README.md").write_text(f"{readme}---\n")
    with pytest.raises(DataError, match="has several configurations"):
        open_corpus(config(place))
    with pytest.raises(
        DataError, match=r"has no configuration data.hub.config=it. Set data.hub.config to one of: de, en"
    ):
        open_corpus(config(place, config="it"))
    corpus = open_corpus(config(place, config="de"))
    assert corpus.column("text") == ["de"] and corpus.rule.startswith("the hub's splits of de; ")


def test_a_damaged_file(place):
    place.mkdir()
    (place / "test.parquet").write_bytes(b"PAR1 but not really")
    with pytest.raises(DataError, match="data.hub.id=.*: cannot be read at revision 'main'"):
        open_corpus(config(place))


class _Answer:
    """The part of a response that the hub's errors look at."""

    status_code, headers, request, text = 404, {}, None, ""
    url = "https://huggingface.co/api/datasets/owner/name"


GATED = DatasetNotFoundError("Dataset 'owner/name' is a gated dataset on the Hub. You must be authenticated")
SCRIPT = RuntimeError("Dataset scripts are no longer supported, but found name.py")


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (GATED, "is gated. Accept its conditions at https://huggingface.co/datasets/owner/name, .* `hf auth login`"),
        (GatedRepoError("403", response=_Answer()), "is gated. Accept its conditions"),
        (SCRIPT, r"has a loading script \(name.py\).*data.hub.revision=refs/convert/parquet and data.hub.config="),
        (RepositoryNotFoundError("404", response=_Answer()), "there is no such data set, or it is private"),
        (RevisionNotFoundError("404", response=_Answer()), "has no revision data.hub.revision=main"),
        (OSError("disk on fire"), r"cannot be read at revision 'main' \(OSError: disk on fire\)"),
        (TimeoutError("slow"), "the hub cannot be reached"),
    ],
)
@pytest.mark.usefixtures("online")
def test_what_the_hub_refuses(raised, message, monkeypatch):
    class Info:
        sha = COMMIT

    def refuse(path, streaming, **named):
        assert (path, named) == ("owner/name", {"name": None, "revision": COMMIT})
        raise raised

    monkeypatch.setattr(hub_module.HfApi, "dataset_info", lambda *_, **__: Info())
    monkeypatch.setattr(hub_module, "load_dataset", refuse)
    with pytest.raises(DataError, match=message):
        open_corpus(config("owner/name"))


@pytest.mark.parametrize(
    ("raised", "message"),
    [(ConnectionError("cut"), "the hub cannot be reached"), (GatedRepoError("403", response=_Answer()), "is gated")],
)
def test_what_fails_while_rows_are_read_leaves_nothing(raised, message, place, clips, tmp_path, monkeypatch):
    write_part(place / "test.parquet", clips, text=["A", "B", "C"])
    recording = hub_module._recording

    def third_fails(cell, at):
        if cell["path"] == "clip2.wav":
            raise raised
        return recording(cell, at)

    monkeypatch.setattr(hub_module, "_recording", third_fails)
    with pytest.raises(DataError, match=message):
        open_corpus(config(place))
    assert [path.suffix for path in (tmp_path / "datasets" / "mam").iterdir()] == [".lock"]
    monkeypatch.setattr(hub_module, "_recording", recording)
    assert len(open_corpus(config(place))) == 3


@pytest.mark.usefixtures("online")
def test_the_parquet_branch_has_a_folder_for_each_configuration(monkeypatch):
    class Info:
        sha = COMMIT

    def load(path, streaming, **named):
        assert named == {"data_dir": "en_us", "revision": COMMIT}
        raise OSError("seen")

    monkeypatch.setattr(hub_module.HfApi, "dataset_info", lambda *_, **__: Info())
    monkeypatch.setattr(hub_module, "load_dataset", load)
    with pytest.raises(DataError, match="seen"):
        open_corpus(config("owner/name", revision="refs/convert/parquet", config="en_us"))
    with pytest.raises(ConfigError, match="data.hub.config: is required with data.hub.revision=refs/convert/parquet"):
        jobs(["data=fleurs", "data.hub.config=null"])


@pytest.mark.parametrize(
    "status, is_said", [(None, True), (500, True), (503, True), (400, False), (401, False), (404, False)]
)
def test_a_refusal_is_an_answer(status, is_said):
    http = HfHubHTTPError.__mro__[1]("said")
    if status is not None:
        http.response = SimpleNamespace(status_code=status, headers={}, request=None)
    error = ValueError("of the client")
    error.__cause__ = http
    assert is_offline(http) == is_offline(error) == is_said
    assert not is_offline(ValueError("alone")) and is_offline(ConnectionError())


def test_offline_says_so_at_once():
    with pytest.raises(DataError, match=r"data.hub.id=owner/other: the hub cannot be reached or HF_HUB_OFFLINE is set"):
        open_corpus(config("owner/other"))


def test_offline_a_downloaded_copy_is_read(tmp_path, monkeypatch, clips):
    repository = tmp_path / "hub" / "datasets--owner--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    write_part(repository / "snapshots" / COMMIT / "test.parquet", clips[:1], text=["HELLO"])
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    corpus = open_corpus(config("owner/name"))
    assert (
        corpus.column("text") == ["HELLO"]
        and "owner/name at 0123456789ab: test is test; audio from audio" in corpus.rule
    )


def test_what_datasets_keeps_is_looked_for_where_it_keeps_it(monkeypatch):
    """Without importing it, for a refusal at once."""
    import datasets

    monkeypatch.delenv("HF_DATASETS_CACHE", raising=False)
    assert str(kept_in()) == datasets.config.DEFAULT_HF_DATASETS_CACHE
    monkeypatch.setenv("HF_DATASETS_CACHE", "/elsewhere")
    assert kept_in() == Path("/elsewhere")
