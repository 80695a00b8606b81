"""What is learnt from a clip, with which loss, at which rate."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.audio import noise, write_folder
from support.models import LAYERS, LETTERS
from support.runs import jobs
from transformers import HubertForCTC, WhisperForConditionalGeneration

from mam.config.training import TrainConfig
from mam.data.corpus import open_corpus
from mam.data.store import AudioStore
from mam.errors import DataError, TrainingError
from mam.models.families import load_target
from mam.models.hidden import Hidden
from mam.models.locate import locate
from mam.scoring.text import NORMALIZERS
from mam.training.learner import Learner, _time_masked
from mam.training.lessons import Clips, Lessons, Order, collate, labels, transcripts


def store(folder):
    words = ["data=audiofolder", f"data.root={folder}", "data.split=all", "data.normalizer=hubert_english"]
    config = jobs(words)[0].config
    corpus = open_corpus(config.data)
    return config, AudioStore.checked(corpus, 16000, 10**9, "stop")


@pytest.mark.parametrize("norm", ["hubert_group", "hubert_layer"])
def test_ctc_loss_is_that_of_transformers(norm, request, clips):
    folder = request.getfixturevalue(norm)
    target = load_target(locate(str(folder)))
    config, audio = store(clips)
    lessons = transcripts(config, target, audio, "stop")
    learner = Learner(target, lessons, TrainConfig(name="finetune"), None, None).eval()
    clip_inputs = Clips(lessons, target, True, 10**9)
    together = learner(**collate([clip_inputs[i] for i in range(3)]))["loss"].item()
    plain = HubertForCTC.from_pretrained(folder, dtype=torch.float32, ctc_loss_reduction="sum").eval()
    expected = []
    for i in range(3):
        inputs = target.extractor(audio.wave(i), sampling_rate=16000, return_tensors="pt").input_values
        tokens = [LETTERS.index("|" if letter == " " else letter) for letter in audio.corpus.examples[i]["text"]]
        assert lessons.answers[i] == tokens
        expected.append(plain(inputs, labels=torch.tensor([tokens])).loss.item() / len(tokens))
    assert together == pytest.approx(sum(expected) / 3, rel=1e-4)


def test_whispers_loss_is_that_of_transformers(whisper, clips):
    target = load_target(locate(str(whisper)))
    config, audio = store(clips)
    lessons = transcripts(config, target, audio, "stop")
    learner = Learner(target, lessons, TrainConfig(name="finetune"), None, None).eval()
    clip_inputs = Clips(lessons, target, True, 10**9)
    together = learner(**collate([clip_inputs[i] for i in range(3)]))["loss"].item()
    plain = WhisperForConditionalGeneration.from_pretrained(whisper, dtype=torch.float32).eval()
    losses = []
    for i in range(3):
        features = target.extractor(audio.wave(i), sampling_rate=16000, return_tensors="pt").input_features
        losses.append(plain(features, labels=torch.tensor([lessons.answers[i]])).loss.item())
        decoded = target.tokenizer.decode(lessons.answers[i], skip_special_tokens=True)
        assert decoded == audio.corpus.examples[i]["text"]
    assert together == pytest.approx(sum(losses) / 3, rel=1e-4)
    assert lessons.answers[0][0] != plain.config.decoder_start_token_id
    assert lessons.answers[0][-1] == plain.config.eos_token_id


def test_transcripts_are_spelled_in_the_case_of_the_vocabulary(hubert_group):
    target = load_target(locate(str(hubert_group)))
    tokens, unknown = target.spell("  It's  a café, ok ", NORMALIZERS["none"])
    assert "".join(LETTERS[i] for i in tokens) == "IT'S|A|CAF|OK" and unknown == ["É", ","]


def test_characters_that_the_vocabulary_lacks_are_listed(hubert_group, tmp_path):
    folder = write_folder(tmp_path / "umlauts", [0.6, 0.7])
    table = (folder / "metadata.csv").read_text().replace("HELLO", "HÄLLÖ").replace("ANNA", "ÄNNA")
    (folder / "metadata.csv").write_text(table)
    config, audio = store(folder)
    config.data.normalizer = "none"
    with pytest.raises(
        DataError, match=r"lacks characters of the transcripts: 'Ä' \(2 times\), 'Ö' \(1 times\)\. Choose"
    ):
        transcripts(config, load_target(locate(str(hubert_group))), audio, "stop")


def test_clips_with_characters_that_the_vocabulary_lacks_are_left_out_on_request(hubert_group, tmp_path):
    folder = write_folder(tmp_path / "umlauts", [0.6, 0.7])
    (folder / "metadata.csv").write_text((folder / "metadata.csv").read_text().replace("ANNA", "ÄNNA"))
    config, audio = store(folder)
    config.data.normalizer = "none"
    taught = transcripts(config, load_target(locate(str(hubert_group))), audio, "skip")
    assert taught.audio.corpus.column("text") == ["HELLO THERE"] and len(taught.answers) == 1
    assert [one.reason for one in taught.skipped] == ["the vocabulary lacks Ä"]


def test_transcripts_longer_than_ctc_allows_are_named_and_left_out_on_request(hubert_group, tmp_path):
    # 0.1 s are 4 frames; "ANNA" needs 4 and a blank between its two N.
    folder = write_folder(tmp_path / "short", [0.6, 0.1, 0.9])
    config, audio = store(folder)
    target = load_target(locate(str(hubert_group)))
    assert target.token_capacity(1600) == 4
    with pytest.raises(
        DataError, match=r"clip1: its transcript needs 5 frames for CTC, but the recording has only 4\nTo skip"
    ):
        transcripts(config, target, audio, "stop")
    lessons = transcripts(config, target, audio, "skip")
    assert [lessons.id(i) for i in range(2)] == ["clip0", "clip2"] and lessons.skipped[0].id == "clip1"
    assert len(lessons.answers) == 2 and lessons.audio.samples == [9600, 14400]


def test_labels_are_positions_among_the_classes(hubert_group, clips):
    _, audio = store(clips)
    audio.corpus = SimpleNamespace(column=lambda name: ["b", "a", "b"])
    assert labels(audio, ["a", "b"]).answers == [[1], [0], [1]]
    with pytest.raises(DataError, match="these classes are not in the training data: b"):
        labels(audio, ["a"])


def test_order_is_drawn_up_beforehand():
    lengths = [1, 9, 2, 8, 3, 7]
    order = list(Order(lengths, steps=4, batch=3, seed=5, by_length=False))
    assert len(order) == 12 and sorted(order[:6]) == sorted(order[6:]) == list(range(6))
    assert order == list(Order(lengths, 4, 3, 5, False)) != list(Order(lengths, 4, 3, 6, False))
    lengths = list(range(48))
    shuffled, grouped = (list(Order(lengths, 16, 3, 5, by_length)) for by_length in (False, True))
    assert sorted(shuffled) == sorted(grouped) == lengths
    spans = [sum(max(o[i : i + 3]) - min(o[i : i + 3]) for i in range(0, 48, 3)) for o in (shuffled, grouped)]
    assert spans[1] < spans[0] / 2 and 47 in grouped[:3]  # the longest first: what does not fit shows at once


def test_rates_by_layer_and_no_decay_for_lambdas_biases_and_norms(hubert_group):
    target = load_target(locate(str(hubert_group)))
    train = TrainConfig(name="finetune", learning_rate=1.0, layer_decay=0.5, weight_decay=0.1)
    learner = Learner(target, Lessons(None, []), train, None, None)
    rates = {id(p): (group["lr"], group["weight_decay"]) for group in learner.groups() for p in group["params"]}
    named = dict(learner.named_parameters())
    assert rates[id(named["model.lm_head.weight"])] == (1.0, 0.1)
    assert rates[id(named["model.lm_head.bias"])] == (1.0, 0.0)
    for layer in range(LAYERS):
        name = f"model.hubert.encoder.layers.{layer}.attention.q_proj.weight"
        assert rates[id(named[name])] == (0.5 ** (LAYERS - layer), 0.1)
    assert rates[id(named["model.hubert.feature_projection.projection.weight"])] == (0.5 ** (LAYERS + 1), 0.1)
    assert id(named["model.hubert.feature_extractor.conv_layers.0.conv.weight"]) not in rates


@pytest.mark.parametrize(
    ("trainable", "included", "excluded"),
    [
        ("attention", "layers.0.attention.v_proj.weight", "feed_forward.output_dense.weight"),
        ("head", "lm_head.weight", "layers.0.attention.v_proj.weight"),
        ("lambda", None, "lm_head.weight"),
    ],
)
def test_what_is_trainable(hubert_group, trainable, included, excluded):
    target = load_target(locate(str(hubert_group)))
    learner = Learner(target, Lessons(None, []), TrainConfig(name="lmam", trainable=trainable), None, None)
    names = [name for name, parameter in learner.named_parameters() if parameter.requires_grad]
    assert any(name.endswith(included) for name in names) if included else not names
    assert not any(name.endswith(excluded) for name in names)


@pytest.mark.parametrize(
    ("where", "stacks"),
    [("encoder", {"encoder"}), ("decoder", {"decoder.self"}), ("all", {"encoder", "decoder.self", "decoder.cross"})],
)
def test_attention_is_trained_where_it_is_merged(whisper, where, stacks):
    target = load_target(locate(str(whisper)))
    learner = Learner(target, Lessons(None, []), TrainConfig(name="lmam", trainable="attention"), None, None, where)
    names = [name for name, parameter in learner.named_parameters() if parameter.requires_grad]
    kinds = {
        "encoder" if ".encoder." in name else "decoder.cross" if "encoder_attn" in name else "decoder.self"
        for name in names
    }
    assert kinds == stacks and not any("fc" in name or "norm" in name for name in names)


def test_a_trained_front_end_hears_the_waveform(hubert_group, clips):
    target = load_target(locate(str(hubert_group)))
    config, audio = store(clips)
    lessons = transcripts(config, target, audio, "stop")
    losses = []
    for is_frozen in (True, False):
        learner = Learner(target, lessons, TrainConfig(name="finetune", freeze_front=is_frozen), None, None).eval()
        inputs = Clips(lessons, target, is_frozen, 0)
        losses.append(learner(**collate([inputs[0], inputs[1]]))["loss"])
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-5)
    losses[1].backward()
    assert target.frontend[0].conv_layers[0].conv.weight.grad.abs().sum() > 0


@pytest.mark.parametrize(("family", "readout"), [("hubert_group", "text"), ("whisper", "text"), ("beats", "features")])
def test_layers_that_are_computed_again_give_the_same_gradients(family, readout, request, clips):
    config, audio = store(clips)
    gradients = []
    for recomputes in (False, True):
        target = load_target(locate(str(request.getfixturevalue(family))), readout)
        if recomputes:
            target.recompute_layers()
        head = None if readout == "text" else torch.nn.Linear(target.width, 2, bias=False)
        if head is not None:
            torch.nn.init.eye_(head.weight)
        lessons = transcripts(config, target, audio, "stop") if head is None else Lessons(audio, [[0], [1]] * 3)
        learner = Learner(target, lessons, TrainConfig(name="finetune"), head, None).train()
        for module in learner.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        inputs = Clips(lessons, target, True, 0)
        torch.manual_seed(0)
        np.random.seed(0)
        learner(**collate([inputs[0], inputs[1]]))["loss"].backward()
        gradients.append(target.blocks[0].v.weight.grad)
    torch.testing.assert_close(gradients[0], gradients[1])
    assert gradients[0].abs().sum() > 0


def test_a_loss_that_is_not_a_number_names_the_clips(hubert_group, clips):
    target = load_target(locate(str(hubert_group)))
    config, audio = store(clips)
    lessons = transcripts(config, target, audio, "stop")
    learner = Learner(target, lessons, TrainConfig(name="finetune"), None, None).eval()
    inputs = Clips(lessons, target, True, 0)
    batch = collate([inputs[0], inputs[2]])
    batch["states"][1] = float("nan")
    with pytest.raises(TrainingError, match="the loss is NaN or infinite for clip2"):
        learner(**batch)


def test_spec_augment_is_that_of_the_models_configuration(hubert_group):
    target = load_target(locate(str(hubert_group)))
    heard = target.listen([noise(1.0, 1)])
    target.model.config.mask_time_prob, target.model.config.hidden_dropout = 0.5, 0.0
    for module in target.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    plain = target.embed(heard).states
    target.model.train()
    assert not torch.allclose(target.embed(heard).states, plain)
    target.model.config.apply_spec_augment = False
    torch.testing.assert_close(target.embed(heard).states, plain)
    assert len(target.embed(target.listen([noise(0.1, 1)])).states[0]) == 4  # shorter than a span: no span


def test_time_masks_are_within_a_clip_and_of_the_share_at_most():
    torch.manual_seed(0)
    heard = Hidden(torch.ones(40, 20, 3), torch.tensor([20, 10] * 20))
    masked = _time_masked(heard, 0.5)
    widths = (masked == 0).all(-1).sum(1)
    assert (widths <= heard.lengths // 2).all() and widths.max() > 5
    assert bool((masked[1::2, 10:] == 1).all()) and bool((heard.states == 1).all())
    assert noise(0.1, 1).any()
