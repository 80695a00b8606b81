"""`mam push`: what is sent, what is refused, and that nothing is sent without a network. No test reaches the hub."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError
from support.runs import mam, once

from mam.errors import ConfigError, MamError, RecordError
from mam.runs import push as module
from mam.runs.push import push


class Hub:
    """A hub that records what it is asked, and fails where it is told to."""

    def __init__(self) -> None:
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

    def create_repo(self, repo, **words):
        return self._answer("create_repo", repo=repo, **words)

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
    (_, created), (_, sent) = hub.asked[1:]
    assert hub.names == ["whoami", "create_repo", "upload_folder"]
    assert created == {"repo": "me/x", "private": True, "repo_type": "model", "exist_ok": False}
    assert sent["repo_id"] == "me/x" and sent["folder_path"] == Path("made") and sent["repo_type"] == "model"
    assert {"README.md", "mam_config.yaml", "model.safetensors", "config.json"} <= set(sent["files"])


def test_force_adds_to_a_repository_that_exists(hub, run):
    push(run, "me/x", Path("made"), force=True)
    assert hub.asked[1][1]["exist_ok"] is True and hub.asked[1][1]["private"] is False
    push(run, "me/x", Path("made"))  # an earlier export in the folder is replaced


@pytest.mark.parametrize(
    "name", ["x", "a/b/c", "a/b c", "a/", "/b", "a/b--c", "a/.b", "a/" + "b" * 100, "", "me/x.git"]
)
def test_a_wrong_name_is_refused_before_anything(hub, name):
    with pytest.raises(ConfigError, match="is no name for a repository|names no owner"):
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
        ("whoami", refusal(401), "me/x: the hub does not accept your token. Log in with"),
        ("create_repo", refusal(403), "me/x: you have no right to write there (403 said"),
        ("create_repo", refusal(409), "me/x: exists already. Choose another name, or say force=true"),
        ("create_repo", refusal(400), "me/x: the hub refuses it: 400 said"),
        ("upload_folder", refusal(403), "me/x: you have no right to write there (403 said"),
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
        ("upload_folder", refusal(503), "the hub fails: 503 said"),
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
    with pytest.raises(RecordError, match=r"made/README.md: is no valid model card \("):
        push(run, "me/x", Path("made"))
    assert hub.names == ["whoami"]


def test_nothing_foreign_is_replaced(hub, run):
    Path("made").mkdir()
    Path("made/precious").touch()
    with pytest.raises(RecordError, match="no earlier export that could be replaced"):
        push(run, "me/x", Path("made"))
    assert hub.names == ["whoami"] and Path("made/precious").exists()


def test_the_verb(run, hub, capsys):
    verb = import_module("mam.verbs.push")
    assert verb.main([str(run), "me/x", "private=true"]) == 0
    assert hub.asked[1][1]["private"] is True and hub.asked[2][1]["folder_path"] == Path("pushed/me/x")
    assert "sent pushed/me/x to https://hub/me/x/commit/1" in capsys.readouterr().out
    for argv in ([], [str(run)], [str(run), "me/x", "private=1"], [str(run), "me/x", "x=1"]):
        with pytest.raises(ConfigError):
            verb.main(argv)


def test_the_verb_without_a_network(run):
    shown = mam("push", run, "me/x", "out=here")
    assert shown.returncode == 1 and shown.stderr == "" and Path("here/model.safetensors").is_file()
    assert shown.stdout.endswith(
        "nothing was sent: HF_HUB_OFFLINE is set\nthe folder is written and its card is valid: here\n"
    )
    assert mam("push", "nowhere", "me/x").stderr == "mam: nowhere: is not a finished run, it has no result.json.\n"
