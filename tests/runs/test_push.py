"""`mam push`: what is sent, what is refused, and that nothing is sent without a network. No test reaches the hub."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, RepositoryNotFoundError
from support.runs import mam, once

from mam.errors import ConfigError, MamError, RecordError
from mam.runs import push as module
from mam.runs.push import push


class Hub:
    """A hub that records what it is asked, and fails where it is told to; ``private`` is of the one that exists."""

    def __init__(self) -> None:
        self.private: bool | None = None
        self.asked: list[tuple[str, dict]] = []
        self.fails: dict[str, Exception] = {}

    def __call__(self) -> Hub:
        return self

    def _answer(self, name: str, **words: object) -> SimpleNamespace:
        self.asked.append((name, words))
        if name in self.fails:
            raise self.fails[name]
        return SimpleNamespace(commit_url="https://hub/me/x/commit/1")

    def whoami(self):
        return self._answer("whoami")

    def repo_info(self, repo, **words):
        self._answer("repo_info", repo=repo, **words)
        if self.private is None:
            raise RepositoryNotFoundError("404 said", response=refusal(404).response)
        return SimpleNamespace(private=self.private)

    def create_repo(self, repo, **words):
        made = self._answer("create_repo", repo=repo, **words)
        self.private = bool(words["private"])
        return made

    def upload_folder(self, **words):
        words["files"] = sorted(path.name for path in Path(words["folder_path"]).iterdir())
        return self._answer("upload_folder", **words)

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.asked]


def refusal(status: int) -> HfHubHTTPError:
    return HfHubHTTPError(f"{status} said", response=SimpleNamespace(status_code=status, headers={}, request=None))


@pytest.fixture
def hub(monkeypatch):
    made = Hub()
    monkeypatch.setattr(module, "HfApi", made)
    monkeypatch.setattr(module.constants, "is_offline_mode", lambda: False)
    return made


@pytest.fixture
def run(words):
    return once([*words, "lam=0.4", "evaluate.draws=200"]).folder


def test_the_export_is_sent(hub, run):
    pushed = push(run, "me/x", Path("made"), private=True)
    assert (pushed.url, pushed.reason, pushed.folder) == ("https://hub/me/x/commit/1", "", Path("made"))
    (_, created), (_, sent) = hub.asked[2:]
    assert hub.names == ["whoami", "repo_info", "create_repo", "upload_folder"]
    assert created == {"repo": "me/x", "private": True, "repo_type": "model", "exist_ok": False}
    assert sent["repo_id"] == "me/x" and sent["folder_path"] == Path("made") and sent["repo_type"] == "model"
    assert {"README.md", "mam_config.yaml", "model.safetensors", "config.json"} <= set(sent["files"])


def test_force_adds_to_a_repository_that_exists(hub, run):
    push(run, "me/x", Path("made"), force=True)
    assert hub.names == ["whoami", "repo_info", "create_repo", "upload_folder"] and hub.asked[2][1]["private"] is None
    hub.asked.clear()
    push(run, "me/x", Path("made"), force=True)  # an earlier export in the folder is replaced
    assert hub.names == ["whoami", "repo_info", "upload_folder"]


def test_without_force_one_that_exists_is_refused_before_the_export(hub):
    hub.private = True
    with pytest.raises(MamError, match=r"me/x: already exists. Choose another name, or set force=true"):
        push(Path("nowhere"), "me/x", Path("made"), private=True)
    assert hub.names == ["whoami", "repo_info"]


@pytest.mark.parametrize("private", [True, False])
def test_nothing_is_published_that_was_to_be_private(hub, run, private):
    hub.private = not private
    now, asked = ("public", "private") if private else ("private", "public")
    with pytest.raises(MamError, match=f"me/x: exists and is {now}, not {asked}") as caught:
        push(run, "me/x", Path("made"), private=private, force=True)
    assert f"private={str(not private).lower()} to upload" in str(caught.value)
    assert hub.names == ["whoami", "repo_info"] and not Path("made").exists()
    for same in (not private, None):
        assert push(run, "me/x", Path("made"), private=same, force=True).url


@pytest.mark.parametrize("error, sends", [(refusal(403), False), (refusal(503), True), (ConnectionError("cut"), True)])
def test_a_repository_that_was_created_and_got_nothing_is_said(hub, run, error, sends):
    hub.fails["upload_folder"] = error
    if sends:
        said = push(run, "me/x", Path("made"), private=True).reason
    else:
        with pytest.raises(MamError) as caught:
            push(run, "me/x", Path("made"), private=True)
        said = str(caught.value)
    assert said.endswith(". The repository me/x was created and is empty; set force=true to upload to it")
    hub.fails.clear()
    assert push(run, "me/x", Path("made"), private=True, force=True).url
    hub.fails["upload_folder"] = error
    if sends:
        assert "created" not in push(run, "me/x", Path("made"), force=True).reason


def refused_card() -> ValueError:
    """Return what the hub's client raises for a card that the hub refuses, with the errors that it arises from."""
    try:
        try:
            raise HfHubHTTPError.__mro__[1]("400")
        except Exception as error:
            error.response = refusal(400).response
            raise refusal(400) from error
    except HfHubHTTPError as error:
        made = ValueError("Invalid metadata in README.md.\n- base_model")
        made.__cause__ = error
        return made


@pytest.mark.parametrize("error", [refused_card(), ValueError("Invalid metadata in README.md."), KeyError("x")])
def test_an_error_that_is_not_the_networks_is_not_called_so(hub, run, error):
    hub.fails["upload_folder"] = error
    with pytest.raises(MamError, match=f"me/x: the upload failed: {type(error).__name__}: ") as caught:
        push(run, "me/x", Path("made"))
    assert "reached" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["x", "a/b/c", "a/b c", "a/", "/b", "a/b--c", "a/.b", "a/" + "b" * 100, "", "me/x.git"]
)
def test_a_wrong_name_is_refused_before_anything(hub, name):
    with pytest.raises(ConfigError, match="is not a valid repository name|has no owner"):
        push(Path("nowhere"), name, Path("made"))
    assert not hub.asked and not Path("made").exists()


@pytest.mark.parametrize(
    "asked, error, message",
    [
        (
            "whoami",
            LocalTokenNotFoundError("no"),
            "me/x: you are not logged in to the hub. Log in with `hf auth login`",
        ),
        ("whoami", refusal(401), "me/x: the hub rejected your token"),
        ("create_repo", refusal(403), "me/x: you may not write there (403 said"),
        ("create_repo", refusal(409), "me/x: already exists. Choose another name, or set force=true"),
        ("create_repo", refusal(400), "me/x: the hub refused the upload: 400 said"),
        ("upload_folder", refusal(403), "me/x: you may not write there (403 said"),
    ],
)
def test_what_the_hub_refuses_is_one_message(hub, run, asked, error, message):
    hub.fails[asked] = error
    with pytest.raises(MamError) as caught:
        push(run, "me/x", Path("made"))
    assert str(caught.value).startswith(message) and hub.names[-1] == asked


@pytest.mark.parametrize(
    "asked, error, reason",
    [
        ("whoami", ConnectionError("no route"), "the hub cannot be reached: no route"),
        ("create_repo", TimeoutError(), "the hub cannot be reached: TimeoutError"),
        ("upload_folder", refusal(503), "the hub has failed: 503 said"),
    ],
)
def test_without_an_answer_the_folder_is_there_and_nothing_sent(hub, run, asked, error, reason):
    hub.fails[asked] = error
    pushed = push(run, "me/x", Path("made"))
    assert pushed.url is None and pushed.reason.startswith(reason) and (Path("made") / "README.md").is_file()
    assert hub.names[-1] == asked


def test_offline_nobody_is_asked(monkeypatch, run):
    monkeypatch.setattr(module, "HfApi", hub := Hub())
    pushed = push(run, "me/x", Path("made"))  # tests run with HF_HUB_OFFLINE
    assert (pushed.url, pushed.reason) == (None, "HF_HUB_OFFLINE is set") and not hub.asked


def test_a_card_that_cannot_be_read_back_is_not_sent(hub, run, monkeypatch):
    made = module.export

    def damaged(*words, **more):
        remarks = made(*words, **more)
        (Path("made") / "README.md").write_text("---\ntags: [a\n---\n")
        return remarks

    monkeypatch.setattr(module, "export", damaged)
    with pytest.raises(RecordError, match=r"made/README.md: is not a valid model card \("):
        push(run, "me/x", Path("made"))
    assert hub.names == ["whoami", "repo_info"]


def test_nothing_foreign_is_replaced(hub, run):
    Path("made").mkdir()
    Path("made/precious").touch()
    with pytest.raises(RecordError, match="is not empty and not an earlier export"):
        push(run, "me/x", Path("made"))
    assert hub.names == ["whoami", "repo_info"] and Path("made/precious").exists()


def test_the_verb(run, hub, capsys, monkeypatch):
    verb = import_module("mam.verbs.push")
    assert verb.main([str(run), "me/x", "private=true"]) == 0
    assert hub.asked[2][1]["private"] is True and hub.asked[3][1]["folder_path"] == Path("pushed/me/x")
    assert "uploaded pushed/me/x to https://hub/me/x/commit/1" in capsys.readouterr().out
    monkeypatch.setenv("HOME", str(Path("home").absolute()))
    assert verb.main([str(run), "me/x", "out=~/made", "force=true"]) == 0
    assert Path("home/made/README.md").is_file() and not Path("~").exists()
    exporting = import_module("mam.verbs.export")
    assert exporting.main([str(run), "~/exported"]) == 0 and Path("home/exported/README.md").is_file()
    for argv in ([], [str(run)], [str(run), "me/x", "private=1"], [str(run), "me/x", "x=1"]):
        with pytest.raises(ConfigError):
            verb.main(argv)


def test_the_verb_without_a_network(run):
    shown = mam("push", run, "me/x", "out=here")
    assert shown.returncode == 1 and shown.stderr == "" and Path("here/model.safetensors").is_file()
    assert shown.stdout.endswith(
        "nothing was uploaded: HF_HUB_OFFLINE is set\nthe export was written and its model card is valid: here\n"
    )
    assert mam("push", "nowhere", "me/x").stderr == "mam: nowhere: is not a finished run (it has no result.json).\n"
