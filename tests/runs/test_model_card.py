"""The front matter of a card is valid whatever things are called, and claims only what is so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard
from hypothesis import given
from hypothesis import strategies as st
from support.runs import once

from mam.evaluation.workbench import Workbench
from mam.models.checkpoints import Checkpoint
from mam.models.parents import Parents
from mam.records.parts import HeadRecord
from mam.records.result import RunResult
from mam.runs.export import export
from mam.runs.model_card import card

ODD = [
    "a: b",
    "#x",
    "- y",
    "'q'",
    '"q',
    "{z}",
    "[a]",
    "two\nlines",
    "x\n---\ny",
    "---",
    "Ünïcödé 模型 🎉",
    "null",
    "1.0",
    "!tag",
    "&a *b",
    "%",
    "`|`",
    "tab\tand\r\nreturn\u2028x",
    "\udcff",
    "\x00\x07",
    " ",
]


@pytest.fixture(scope="module")
def result(tmp_path_factory) -> RunResult:
    """The demo on two clips."""
    folder = tmp_path_factory.mktemp("card")
    bench = Workbench()
    return once(
        ["data.limit=2", "evaluate.draws=200", f"outputs={folder / 'out'}", f"cache_dir={folder}"], bench
    ).result


def parent(folder: Path, name: str, revision: str | None = None, licence: str | None = None) -> Checkpoint:
    folder = folder / name.replace("/", "--").replace("\n", " ")
    folder.mkdir(parents=True, exist_ok=True)
    if licence is not None:
        (folder / "README.md").write_text(f"---\nlicense: {licence}\n---\n")
    return Checkpoint(name, folder, revision, (folder / "model.safetensors",))


def front(text: str) -> dict:
    """What stands between the first two lines of dashes."""
    return yaml.safe_load(text.split("\n---\n")[0].removeprefix("---\n"))


def written(result: RunResult, target: Checkpoint, source: Checkpoint, name: str = "made", dataset=None) -> dict:
    return front(card(result, Parents(target, source), result.merge.lam, name, dataset))


def check(result: RunResult, folder: Path, name: str) -> None:
    odd = replace(result, data=replace(result.data, name=name), command=f"mam run data.name={name}")
    target = replace(odd.model.target, id=f"/x/{name}")
    odd = replace(odd, model=replace(odd.model, target=target))
    text = card(odd, Parents(parent(folder, "t"), parent(folder, "s")), odd.merge.lam, name)
    path = folder / "README.md"
    path.write_text(text, encoding="utf-8", newline="")
    loaded = ModelCard.load(path).data
    plain = " ".join(name.encode("utf-8", "replace").decode().split())
    assert loaded.tags == ["merge", "mam", "multimodal-attention-merging"]
    assert loaded.model_name == (plain or "merged")
    (evaluation,) = loaded.eval_results
    assert (evaluation.dataset_name, evaluation.dataset_type) == (plain or "data", plain or "data")
    assert evaluation.metric_value == round(100 * result.rate, 4)
    assert text.count("\n# ") == 1 and "## Parent models" in text


@pytest.mark.parametrize("name", ODD)
def test_odd_names_give_valid_yaml(result, tmp_path, name):
    check(result, tmp_path, name)


@given(name=st.text(max_size=30))
def test_any_name_gives_valid_yaml(result, tmp_path_factory, name):
    check(result, tmp_path_factory.mktemp("any"), name)


def test_base_models_are_hub_ids_only(result, tmp_path):
    hub, folder = parent(tmp_path, "facebook/hubert", "c0ffee"), parent(tmp_path, "facebook/bert")
    assert (made := written(result, hub, parent(tmp_path, "google/bert", "beef")))["base_model"] == [
        "facebook/hubert",
        "google/bert",
    ]
    assert made["base_model_relation"] == "merge" and made["library_name"] == "transformers"
    assert made["tags"] == ["merge", "mam", "multimodal-attention-merging"] and made["language"] == "en"
    assert written(result, hub, folder)["base_model"] == ["facebook/hubert"], "a folder may be called like a hub id"
    made = written(result, folder, folder)
    assert "base_model" not in made and "base_model_relation" not in made


@pytest.mark.parametrize(
    "control, lams, bases",
    [
        ("none", [0.1], ["a/t", "a/s"]),
        ("add", [0.1], ["a/t", "a/s"]),
        ("shuffle_layers", [0.1], ["a/t", "a/s"]),
        ("shrink", [0.1], ["a/t"]),
        ("self", [0.1], ["a/t"]),
        ("random_iid", [0.1], ["a/t"]),
        ("none", [0.0], ["a/t"]),
    ],
)
def test_a_source_of_which_nothing_is_left_is_not_a_base(result, tmp_path, control, lams, bases):
    changed = replace(result, merge=replace(result.merge, control=control, lam=lams * len(result.merge.lam)))
    made = written(changed, parent(tmp_path, "a/t", "1", "mit"), parent(tmp_path, "a/s", "2", "apache-2.0"))
    assert made["base_model"] == bases and made.get("base_model_relation") == ("merge" if len(bases) == 2 else None)
    assert made.get("license") == ("mit" if len(bases) == 1 else None)
    parents = Parents(parent(tmp_path, "a/t", "1", "mit"), parent(tmp_path, "a/s", "2", "apache-2.0"))
    text = card(changed, parents, changed.merge.lam, "made")
    assert ("\nThe licences of both apply.\n" in text) == (len(bases) == 2)
    assert ("\nThe licence of the target applies, since the weights contain nothing" in text) == (len(bases) == 1)


@pytest.mark.parametrize(
    "licences, said",
    [
        (("mit", "mit"), "mit"),
        (("mit", "apache-2.0"), None),
        (("mit", None), None),
        (("other", "other"), None),
        (("[mit, x]", "[mit, x]"), None),
        (("7", "7"), None),
    ],
)
def test_a_licence_is_that_of_both(result, tmp_path, licences, said):
    target, source = (
        parent(tmp_path, name, "1", licence) for name, licence in zip(("a/t", "a/s"), licences, strict=True)
    )
    assert written(result, target, source).get("license") == said


def test_the_result_is_a_model_index_with_its_baseline(result, tmp_path):
    data = replace(result.data, name="my set", split="dev", language="pt-BR")
    delta = replace(result.delta, absolute=-0.05, ci95=(-0.1, 0.02), p_value=0.25)
    metrics, baseline = replace(result.metrics, wer=0.2), replace(result.baseline, wer=0.25, kind="ft")
    changed = replace(result, data=data, delta=delta, metrics=metrics, baseline=baseline)
    made = written(changed, parent(tmp_path, "t"), parent(tmp_path, "s"), "my model", "owner/set")
    (model,) = made["model-index"]
    (entry,) = model["results"]
    assert model["name"] == "my model" and made["language"] == "pt"
    assert entry["task"] == {"type": "automatic-speech-recognition"}
    assert entry["dataset"] == {"name": "my set", "type": "owner/set", "split": "dev"}
    (metric,) = entry["metrics"]
    assert metric == {
        "type": "wer",
        "name": "WER (%)",
        "value": 20.0,
        "args": {
            "baseline": 25.0,
            "baseline_is": "regular fine-tuning",
            "difference": -5.0,
            "interval": [-10.0, 2.0],
            "p_value": 0.25,
            "examples": 2,
        },
    }


def test_of_sounds_the_accuracy_is_said(event_words):
    outcome = once([*event_words, "lam=0.4", "evaluate.draws=200"])
    export(outcome.folder, Path("made"))
    made = front(Path("made/README.md").read_text())
    assert "library_name" not in made, "transformers cannot load BEATs"
    assert "language" not in made and "pipeline_tag" not in made
    (entry,) = made["model-index"][0]["results"]
    error = outcome.result.metrics.error
    assert entry["task"]["type"] == "audio-classification"
    assert entry["metrics"][0]["type"] == "accuracy" and entry["metrics"][0]["value"] == pytest.approx(
        100 - 100 * error
    )


def test_only_a_model_with_classes_is_offered_for_classification(result, event_words, tmp_path):
    target, source = parent(tmp_path, "t"), parent(tmp_path, "s")
    assert written(result, target, source)["pipeline_tag"] == "automatic-speech-recognition"
    sounds = once([*event_words, "evaluate.draws=200"]).result
    assert "pipeline_tag" not in written(sounds, target, source)
    own = replace(sounds, head=HeadRecord("checkpoint", []))
    assert written(own, target, source)["pipeline_tag"] == "audio-classification"
