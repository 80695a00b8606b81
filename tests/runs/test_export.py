"""An exported run is a plain checkpoint that predicts what the run predicted, without mam."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support.audio import CLASSES, write_folder, write_sounds
from support.runs import once, pair_words, predictions

from mam.errors import RecordError
from mam.models.beats import BeatsModel
from mam.runs.export import export

ALONE = """\
import json, sys
import soundfile, torch
from transformers import AutoModelForCTC, AutoProcessor
try:
    import mam
except ImportError:
    pass
else:
    sys.exit("mam can be imported")
folder, *recordings = sys.argv[1:]
processor, model = AutoProcessor.from_pretrained(folder), AutoModelForCTC.from_pretrained(folder).eval()
for recording in recordings:
    wave, rate = soundfile.read(recording, dtype="float32")
    with torch.inference_mode():
        ids = model(**processor(wave, sampling_rate=rate, return_tensors="pt")).logits.argmax(-1)[0].tolist()
    print(json.dumps(ids))
"""


def by_hand(ids: list[int], vocabulary: dict[str, int]) -> str:
    letters = {number: token for token, number in vocabulary.items()}
    collapsed = [i for n, i in enumerate(ids) if n == 0 or i != ids[n - 1]]
    text = "".join(" " if letters[i] == "|" else letters[i] for i in collapsed if not letters[i].startswith("<"))
    return " ".join(text.split())


def test_a_process_without_mam_transcribes_the_same(words, clips, tmp_path):
    run = once([*words, "lam=0.4", "layers=top2"])
    export(run.folder, Path("exported"))
    script = tmp_path / "alone.py"
    script.write_text(ALONE)
    # -I and a blocked name: neither the checkout nor the editable install can be imported.
    block = "import sys; sys.modules['mam'] = None; sys.argv = sys.argv[1:]; exec(open(sys.argv[0]).read())"
    vocabulary = json.loads(Path("exported/vocab.json").read_text())
    expected = predictions(run)
    recordings = [clips / f"clip{i}.wav" for i in range(len(expected))]
    command = [sys.executable, "-I", "-W", "ignore", "-c", block, script, Path("exported").absolute(), *recordings]
    shown = subprocess.run(command, capture_output=True, text=True)
    assert shown.returncode == 0, shown.stderr
    lines = shown.stdout.splitlines()[-len(expected) :]
    assert [by_hand(json.loads(line), vocabulary) for line in lines] == expected


@pytest.mark.parametrize(
    "more",
    [
        ["lam=0.4"],
        ["lam=0.4", "control=random_iid"],
        ["schedule=linear", "lam=0.6", "parts=kv", "bias=false"],
        ["lam=0"],
        ["heads=1,3", "parts=qkvo", "lam=0.5"],
    ],
)
def test_the_exported_target_predicts_the_same_bytes(words, more):
    run = once([*words, *more])
    export(run.folder, Path("exported"))
    again = once([*words, "model.target=exported", "lam=0", "outputs=again"])
    assert (again.folder / "predictions.jsonl").read_bytes() == (run.folder / "predictions.jsonl").read_bytes()


def test_the_card_says_what_was_done(words):
    run = once([*words, "lam=0.4", "layers.spec=0,2"])
    export(run.folder, Path("exported"))
    card = Path("exported/README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert "base_model" not in front and "mam" in front["tags"], "parents from folders are not on the hub"
    assert "| 0 | 0.4 | 0 |" in card and "| 1 | 0 | – |" in card and "| 2 | 0.4 | 2 |" in card
    delta = run.result.delta
    assert f"{100 * delta.absolute:+.2f}" in card and run.result.model.source.sha256 in card
    assert "not stated in its files" in card and "@article{sundar2023multimodal" in card and run.result.command in card
    assert str(Path.home()) not in card.split("## How this model was made")[0]
    kept = yaml.safe_load(Path("exported/mam_config.yaml").read_text())
    assert kept["lam"] == 0.4 and kept["layers"]["spec"] == "0,2"


def test_a_licence_is_read_from_the_parents_card(words, hubert_group, bert, tmp_path):
    import shutil

    own = shutil.copytree(hubert_group, tmp_path / "own")
    (own / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A model\n")
    run = once([*words, f"model.target={own}", "lam=0.4"])
    export(run.folder, Path("exported"))
    assert "| apache-2.0 |" in Path("exported/README.md").read_text()


def test_what_is_refused(words, hubert_group, tmp_path):
    import shutil

    own = shutil.copytree(hubert_group, tmp_path / "own")
    run = once([*words, f"model.target={own}", "lam=0.4"])
    Path("full").mkdir()
    Path("full/precious").touch()
    with pytest.raises(RecordError, match="is not empty and not an earlier export"):
        export(run.folder, Path("full"), force=True)
    assert Path("full/precious").exists(), "force replaces exports and nothing else"
    export(run.folder, Path("made"))
    with pytest.raises(RecordError, match="out=made: has an earlier export"):
        export(run.folder, Path("made"))
    export(run.folder, Path("made"), force=True)
    assert Path("made/model.safetensors").is_file() and not list(Path().glob(".made*"))
    with pytest.raises(RecordError, match="is not a finished run"):
        export(tmp_path, Path("other"))
    raw = bytearray((own / "model.safetensors").read_bytes())
    raw[-1] ^= 1
    (own / "model.safetensors").write_bytes(raw)
    with pytest.raises(RecordError, match="its weights are not those of the run"):
        export(run.folder, Path("other"))
    assert not Path("other").exists()


def test_a_trained_model_is_exported_with_lambda_folded_in(hubert_group, bert, tmp_path):
    data = write_folder(
        tmp_path / "data", [0.6, 1.3, 0.9, 1.3, 0.8, 1.0], split=["train"] * 2 + ["dev"] * 2 + ["test"] * 2
    )
    words = [*pair_words(hubert_group, bert), "data=audiofolder", f"data.root={data}"]
    quick = ["train=lmam", "lam=0.3", "train.steps=4", "train.evaluate_every=2", "train.batch_size=2"]
    run = once([*words, *quick])
    export(run.folder, Path("exported"))
    again = once([*words, "model.target=exported", "lam=0", "outputs=again"])
    assert (again.folder / "predictions.jsonl").read_bytes() == (run.folder / "predictions.jsonl").read_bytes()
    assert "L-MAM" in Path("exported/README.md").read_text()
    (tmp_path / "secret").write_text("a secret")
    (run.folder / "model" / "notes.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(RecordError, match="notes.txt: is a link, which is not exported"):
        export(run.folder, Path("linked"))
    assert not Path("linked").exists()
    unsaved = once([*words, *quick, "train.save_model=false"])
    with pytest.raises(RecordError, match="the trained model was not saved"):
        export(unsaved.folder, Path("other"))


def test_sounds_by_fold(event_words, tmp_path):
    words = [word for word in event_words if not word.startswith("data.root=")]
    words.append(f"data.root={write_sounds(tmp_path / 'more', folds=3, each=3)}")
    run = once([*words, "lam=0.4"])
    export(run.folder, Path("exported"))
    (file,) = Path("exported").glob("*.pt")
    assert BeatsModel.from_checkpoint(file).config.encoder_layers == 3
    again = once([*words, f"model.target={file}", "lam=0", "outputs=again"])
    assert (again.folder / "predictions.jsonl").read_bytes() != b""
    trained = once([*words, "train=lmam", "lam=0.2", "train.steps=2", "train.evaluate_every=1", "train.batch_size=4"])
    with pytest.raises(RecordError, match=r"has one model per fold\. Set fold to one of 1, 2, 3"):
        export(trained.folder, Path("fold"))
    export(trained.folder, Path("fold"), fold="2")
    for fold in ("4", "x", "fold 2", "-1"):
        with pytest.raises(RecordError, match=r"Set fold to one of 1, 2, 3"):
            export(trained.folder, Path("other"), fold=fold)
    model = BeatsModel.from_checkpoint(Path("fold/beats.pt"))
    assert [model.labels[i] for i in range(3)] == sorted(CLASSES)


def test_the_card_says_how_it_was_mixed(words):
    run = once([*words, "lam=0.4", "method=slerp", "align=permute"])
    export(run.folder, Path("exported"))
    card = Path("exported/README.md").read_text()
    assert "by `slerp` (Spherical interpolation: W = [" in card and "the source aligned by `permute`" in card
    assert "`W = (1-λ)·W_target + λ·W_source`" not in card
    again = once([word for word in words if not word.startswith("model.target=")] + ["model.target=exported", "lam=0"])
    assert predictions(again) == predictions(run)


def test_a_fold_of_a_run_without_folds_is_refused(words):
    run = once([*words, "lam=0.4"])
    for fold in ("1", "x", ""):
        with pytest.raises(RecordError, match=f"fold={fold}: .* has one model, not one per fold. Leave fold out"):
            export(run.folder, Path("exported"), fold=fold)
    assert not Path("exported").exists()


@pytest.mark.parametrize("failing", [1, 2])
def test_an_export_that_cannot_be_renamed_leaves_the_old_one(words, monkeypatch, failing):
    first, second = once([*words, "lam=0.4"]), once([*words, "lam=0.2"])
    export(first.folder, Path("exported"))
    before = {path.name: path.read_bytes() for path in Path("exported").iterdir()}
    replace, calls = Path.replace, []

    def fail(path, target):
        if Path(target).name == "exported" or path.name == "exported":
            calls.append(path)
            if len(calls) == failing:
                raise OSError(5, "Input/output error")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(RecordError, match="out=exported: cannot be written .Input/output error."):
        export(second.folder, Path("exported"), force=True)
    assert {path.name: path.read_bytes() for path in Path("exported").iterdir()} == before
    assert not list(Path().glob(".exported*"))
