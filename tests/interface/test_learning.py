"""λ as parameters in a loop of one's own: gradients by hand, equal to train=lmam, folding, checkpoints, Trainer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import HubertForCTC, Trainer, TrainingArguments

import mam
from mam.merging.lambdas import Lambdas
from mam.merging.learnable import learn
from mam.merging.merger import Merger
from mam.merging.options import MergeOptions
from mam.merging.plan import plan_merge
from mam.models.families import load_target
from mam.models.locate import locate
from mam.models.sources import Source

WAVE, LABELS = (
    torch.from_numpy(np.random.default_rng(0).normal(size=(1, 8000)).astype("float32")),
    torch.tensor([[5, 6, 7]]),
)


def test_the_model_computes_the_merge_and_folds_into_it(target, source):
    expected = mam.merge(target, source, 0.2, copy=True)(WAVE).logits
    names = set(target.state_dict())
    handle = mam.learnable(target, source, 0.2)
    torch.testing.assert_close(target(WAVE).logits, expected)
    assert handle.lambdas() == pytest.approx({"0": 0.2, "1": 0.2, "2": 0.2})
    assert handle.fold() is target
    torch.testing.assert_close(target(WAVE).logits, expected)
    assert set(target.state_dict()) == names


def test_removed_it_is_the_target(target, source):
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    mam.learnable(target, source, 0.2).remove()
    assert all(torch.equal(tensor, before[name]) for name, tensor in target.state_dict().items())


def test_the_gradient_is_that_of_a_difference(target, source):
    """dL/dλ against (L(λ+h) - L(λ-h)) / 2h of plain merged models."""
    handle = mam.learnable(target, source, 0.2, per="global", parts="v")
    assert set(handle.lambdas()) == {"all"}
    target(WAVE, labels=LABELS).loss.backward()
    (raw,) = handle.parameters()
    handle.remove()
    low, high = (mam.merge(target, source, lam, copy=True, parts="v")(WAVE, labels=LABELS).loss for lam in (0.19, 0.21))
    assert raw.grad.item() == pytest.approx((high - low).item() / 0.02, rel=0.02)


def test_equal_to_lmam_where_the_loop_is_the_same(hubert_group, bert, target, source):
    """Three steps of SGD on all weights and λ: by the handle in transformers' model, and by what train=lmam sets up."""
    ours = load_target(locate(str(hubert_group)), "text")
    theirs = Source(locate(str(bert)))
    plan = plan_merge(MergeOptions(lam=0.1), ours.shape, theirs.shape)
    lambdas = Lambdas(plan, "part", "clamp")
    learn(ours.blocks, plan, Merger(ours.blocks, theirs.read).sources(plan), lambdas)
    handle = mam.learnable(target, source, 0.1, per="part")
    tokens = [LABELS[0].tolist()]
    sides = (
        (
            lambdas,
            [*lambdas.parameters(), *ours.model.parameters()],
            lambda: ours.losses(_run(ours), tokens, 0.0).sum() * 3,
        ),
        (None, list(target.parameters()), lambda: target(WAVE, labels=LABELS).loss),
    )
    target.config.ctc_loss_reduction = "sum"
    for own, parameters, loss in sides:
        optimizer = torch.optim.SGD(parameters, lr=1e-3)
        for _ in range(3):
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()
            if own is not None:
                own.project()
    assert handle.lambdas() == pytest.approx(lambdas.as_dict(), rel=1e-4, abs=1e-6)
    assert any(abs(lam - 0.1) > 1e-4 for lam in handle.lambdas().values())


def _run(target):
    return target.advance(target.front([WAVE[0].numpy()]), 0, target.depth)


def test_clamp_puts_lam_back_and_groups_are_apart(target, source):
    handle = mam.learnable(target, source, 0.05)
    own = {id(parameter) for parameter in handle.parameters()}
    assert own.isdisjoint({id(parameter) for parameter in handle.others()})
    assert len(own) + len(handle.others()) == len(list(target.parameters()))
    with torch.no_grad():
        handle.parameters()[0].fill_(-3)
    target(WAVE)
    assert handle.parameters()[0].tolist() == [0, 0, 0] and handle.lambdas()["0"] == 0
    with torch.no_grad():
        handle.parameters()[0].fill_(0.35)
    assert handle.pull().item() == pytest.approx(3 * 0.3**2, rel=1e-5)


@pytest.mark.parametrize(("constraint", "step"), [("sigmoid", 9.0), ("tanh", -9.0), ("none", 3.0)])
def test_other_constraints(target, source, constraint, step):
    handle = mam.learnable(target, source, 0.2, constraint=constraint)
    assert handle.lambdas()["1"] == pytest.approx(0.2)
    with torch.no_grad():
        handle.parameters()[0].fill_(step)
    expected = {"sigmoid": 1 / (1 + np.exp(-9)), "tanh": np.tanh(-9), "none": 3.0}[constraint]
    assert handle.lambdas()["1"] == pytest.approx(expected, rel=1e-5)


def test_a_checkpoint_of_the_model_holds_lam(target, source, hubert_group):
    handle = mam.learnable(target, source, 0.05)
    with torch.no_grad():
        handle.parameters()[0].copy_(torch.tensor([0.1, 0.2, 0.3]))
    saved = target.state_dict()
    again = HubertForCTC.from_pretrained(hubert_group, dtype=torch.float32)
    other = mam.learnable(again, source, 0.05)
    again.load_state_dict(saved)
    assert other.lambdas() == handle.lambdas()


def test_transformers_trainer(target, source, tmp_path):
    handle = mam.learnable(target, source, 0.05)
    rows = [{"input_values": WAVE[0], "labels": LABELS[0]}] * 4
    groups = [{"params": handle.parameters(), "lr": 0.05}, {"params": handle.others(), "lr": 1e-4}]
    arguments = TrainingArguments(
        str(tmp_path), max_steps=2, per_device_train_batch_size=2, report_to=[], use_cpu=True, disable_tqdm=True
    )
    trainer = Trainer(target, arguments, train_dataset=rows, optimizers=(torch.optim.AdamW(groups), None))
    trainer.train()
    moved = handle.lambdas()
    assert all(0 <= lam <= 1 for lam in moved.values()) and any(abs(lam - 0.05) > 0.01 for lam in moved.values())
    handle.fold().save_pretrained(tmp_path / "folded")
    loaded = HubertForCTC.from_pretrained(tmp_path / "folded").eval()
    torch.testing.assert_close(loaded(WAVE).logits, target.eval()(WAVE).logits)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"per": "word"}, "per=word: not known. Choose one of: global, head, layer, part"),
        ({"constraint": "x"}, "constraint=x: not known"),
        ({"lam": 0.0, "constraint": "sigmoid"}, "must be between 0 and 1, exclusive"),
        ({"method": "slerp"}, "method=slerp: its λ cannot be learnt. Choose one of: linear, reparam"),
        ({"per": "global", "schedule": "linear"}, "train.lam.per=global: the schedule gives more than one initial λ"),
        ({"layers": "top9"}, "layers.spec=top9"),
    ],
)
def test_what_cannot_be_learnt(target, source, options, message):
    with pytest.raises(mam.MamError, match=message):
        mam.learnable(target, source, **options)
    assert not hasattr(target, "mam_lambdas")


def test_handles_and_merges_exclude_each_other(target, source):
    handle = mam.learnable(target, source)
    with pytest.raises(mam.MergeError, match="its λ is already learnable"):
        mam.learnable(target, source)
    with pytest.raises(mam.MergeError, match="is parametrised"):
        mam.merge(target, source)
    handle.fold()
    for close in (handle.fold, handle.remove):
        with pytest.raises(mam.MergeError, match="this handle is closed"):
            close()
    mam.merge(target, source)
    with pytest.raises(mam.MergeError, match="is merged already"):
        mam.learnable(target, source)
