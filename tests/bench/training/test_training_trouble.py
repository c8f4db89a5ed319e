"""Trainings that are cut short: anywhere, by a full disk, by too little memory, by numbers that are not finite."""

import json
import os
import resource
import subprocess
import sys
from typing import ClassVar

import pytest
import torch

from cambench.baselines.wsol import WsolMethod
from cambench.bench.host.errors import RunError, UsageError
from cambench.bench.host.memory import BatchMemoryError, is_out_of_memory, largest_fitting
from cambench.bench.training.backbone import train_backbone
from cambench.bench.training.checkpoint import save_network
from cambench.bench.training.head import train_head
from cambench.bench.training.means import Means
from cambench.bench.training.steps.guard import TrainingDivergedError
from cambench.bench.training.steps.log import TrainingLog


class CutError(Exception):
    pass


def cut_after(network, calls):
    """The network's features fail after a number of forward passes in training mode."""
    clean, count = network.features, [0]

    def features(images):
        count[0] += network.training
        if count[0] > calls:
            raise CutError
        return clean(images)

    network.features = features
    return network


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("parts", [1, 2])
def test_cut_within_an_epoch_equals_uninterrupted(tmp_path, network, tables, backbone_recipe, parts, dtype):
    """Cut in the middle of several epochs, once in the middle of a batch; then to the bit as if nothing happened."""
    recipe = backbone_recipe.model_copy(update={"accumulate": parts, "dtype": dtype})
    table = tables(30, broken=(7,))
    whole = network("mlp")
    expected = train_backbone(whole, table, recipe, seed=3)
    state = tmp_path / "run.training"
    # 3 steps an epoch, 4 epochs: cut in epoch 1, 2 and 4.
    for steps in (2, 3, 5):
        net = cut_after(network("mlp"), steps * parts - (parts > 1))
        with pytest.raises(CutError):
            train_backbone(net, table, recipe, Means(state_file=state, save_seconds=0), seed=3)
    assert torch.load(state, weights_only=True)["offset"] > 0, "saved within an epoch"
    resumed = network("mlp")
    record = train_backbone(resumed, table, recipe, Means(state_file=state), seed=3)
    assert record.losses == expected.losses
    assert record.train_top1 == expected.train_top1
    assert record.failures == expected.failures == ("train/7",)
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_states_carry_recipe_data_seed_and_metrics(tmp_path, network, table, backbone_recipe):
    state = tmp_path / "run.training"
    train_backbone(network(), table, backbone_recipe, Means(state_file=state), seed=5)
    content = torch.load(state, weights_only=True)
    facts = json.loads(content["facts"])
    assert facts["recipe"] == backbone_recipe.model_dump(mode="json")
    assert (facts["data_fingerprint"], facts["seed"], facts["backbone"]) == (table.fingerprint, 5, "tiny")
    assert len(content["losses"]) == len(content["accuracies"]) == 4


def test_full_disk_keeps_the_last_state_and_goes_on(tmp_path, network, table, backbone_recipe, monkeypatch):
    """A file-size limit stands in for the full disk: the write itself fails half way."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # which the limit would cut short, for every later test
    state = tmp_path / "run.training"
    whole = network()
    expected = train_backbone(whole, table, backbone_recipe)

    def fill_disk(epoch, loss, accuracy):
        if epoch == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(RunError, match=r"cannot write the training state .*run\.training.* free space") as caught:
            train_backbone(network(), table, backbone_recipe, Means(state_file=state), epoch_done=fill_disk)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "same command again" in str(caught.value)
    assert "File too large" in str(caught.value), "the system's reason, not torch's"
    assert [f.name for f in tmp_path.iterdir()] == ["run.training"], "no half-written file is left"
    assert len(torch.load(state, weights_only=True)["losses"]) == 2
    resumed = network()
    assert train_backbone(resumed, table, backbone_recipe, Means(state_file=state)).losses == expected.losses
    assert all(torch.equal(v, resumed.state_dict()[k]) for k, v in whole.state_dict().items())


def test_what_killed_writers_left_is_removed_and_what_others_write_is_kept(tmp_path, network, table, backbone_recipe):
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    names = [
        f".run.training.{process.pid}-0a.tmp",
        f".run.training.{os.getpid()}-0b.tmp",
        f".other.{process.pid}-0.tmp",
    ]
    for name in names:
        (tmp_path / name).write_text("x")
    train_backbone(network(), table, backbone_recipe, Means(state_file=tmp_path / "run.training"))
    assert sorted(f.name for f in tmp_path.iterdir()) == sorted([*names[1:], "run.training"])


def test_full_disk_at_the_very_end_trains_nothing_again(tmp_path, network, table, backbone_recipe, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # which the limit would cut short, for every later test
    state = tmp_path / "run.training"
    net = network()
    record = train_backbone(net, table, backbone_recipe, Means(state_file=state))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        with pytest.raises(RunError, match=r"cannot write .*net\.safetensors"):
            save_network(tmp_path / "net.safetensors", net, {"filler": "x" * 3000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [f.name for f in tmp_path.iterdir()] == ["run.training"]
    again = network()
    cut_after(again, 0)
    assert train_backbone(again, table, backbone_recipe, Means(state_file=state)).losses == record.losses


def short_of_memory(network, limit):
    """The network runs out of memory beyond ``limit`` images at a time."""
    clean, asked = network.features, []

    def features(images):
        asked.append(len(images))
        if len(images) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return clean(images)

    network.features = features
    return asked


@pytest.mark.parametrize(("limit", "parts"), [(7, 2), (3, 3), (1, 8)])
def test_too_little_memory_names_the_largest_batch_and_what_to_give(network, table, backbone_recipe, limit, parts):
    net = network("mlp")
    asked = short_of_memory(net, limit)
    with pytest.raises(BatchMemoryError, match=rf"8 images at a time.*largest that fits is {limit}: .*") as caught:
        train_backbone(net, table, backbone_recipe)
    assert caught.value.fits == limit
    assert f"--accumulate {parts} " in str(caught.value)
    assert asked[0] == 8, "the batch was not made smaller silently"
    again = network("mlp")
    short_of_memory(again, limit)
    record = train_backbone(again, table, backbone_recipe.model_copy(update={"accumulate": parts}))
    assert record.parts == parts


def test_no_memory_at_all(network, table, backbone_recipe):
    net = network()
    short_of_memory(net, 0)
    with pytest.raises(BatchMemoryError, match=r"not even one fits beside .* give --accumulate \d+ .* smaller network"):
        train_backbone(net, table, backbone_recipe)


def test_too_little_memory_for_the_frozen_pass(network, table, head_recipe):
    net = network("mlp")
    short_of_memory(net, 11)
    with pytest.raises(BatchMemoryError, match=r"30 images at a time.*fits is 11: give --pass-batch 11"):
        train_head(net, table, head_recipe)
    assert "sigmoid" not in net.heads
    assert train_head(net, table, head_recipe, means=Means(pass_batch=11)).cached
    streamed = type(head_recipe)(**{**head_recipe.model_dump(), "augment": {"load_size": 16}, "batch_size": 20})
    with pytest.raises(BatchMemoryError, match=r"set batch_size 11 in the recipe"):
        train_head(net, table, streamed, means=Means(pass_batch=11))


def test_what_counts_as_too_little_memory():
    assert is_out_of_memory(torch.OutOfMemoryError("x"))
    assert is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried …"))
    assert is_out_of_memory(RuntimeError("could not create a primitive")), "oneDNN, on a CPU"
    assert is_out_of_memory(RuntimeError("std::bad_alloc"))
    assert not is_out_of_memory(RuntimeError("shapes do not match"))
    assert not is_out_of_memory(RuntimeError("could not create a primitive descriptor for a convolution"))

    def attempt(count):
        if count > 5:
            raise MemoryError

    assert [largest_fitting(attempt, n) for n in (1, 2, 5, 6, 100)] == [0, 1, 4, 5, 5]

    def broken(count):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        largest_fitting(broken, 4)


def test_real_allocation_failure_is_recognised():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize("when", ["gradient", "loss"])
def test_numbers_that_are_not_finite_never_reach_a_state(tmp_path, network, table, backbone_recipe, when):
    """An infinite gradient in the last step of epoch 2 leaves finite losses and a ruined network."""
    net, calls = network(), [0]
    clean = net.features

    class Spoil(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * float("inf")

    def features(images):
        calls[0] += net.training
        if calls[0] == 6:
            return Spoil.apply(clean(images)) if when == "gradient" else clean(images) * float("nan")
        return clean(images)

    net.features = features
    state = tmp_path / "run.training"
    subject = "network" if when == "gradient" else "loss"
    with pytest.raises(TrainingDivergedError, match=f"the {subject} is not finite at step 3 of epoch 2") as caught:
        train_backbone(net, table, backbone_recipe, Means(state_file=state))
    kept = torch.load(state, weights_only=True)
    assert (len(kept["losses"]), kept["offset"], caught.value.good_epochs) == (1, 0, 1)
    for key, value in kept["network"].items():
        assert torch.isfinite(value).all()
        assert torch.equal(value, net.state_dict()[key]), "the network holds the last good parameters"


class TwoTerms(WsolMethod):
    """A second term that is no number in the third step."""

    name: ClassVar[str] = "two"

    def loss(self, network, images, targets):
        logits = network(images)
        _CALLS.append(1)
        worth = float("nan") if len(_CALLS) == 3 else 0.0
        return {"own": self.cross_entropy(logits, targets), "auxiliary": logits.mean() * worth}, logits


_CALLS = []


def test_a_term_of_the_loss_that_is_not_finite_is_named(network, table, backbone_recipe):
    _CALLS.clear()
    with pytest.raises(TrainingDivergedError, match="the loss auxiliary of the method two is not finite at step 3 of "):
        train_backbone(network(), table, backbone_recipe, method=TwoTerms())


def test_a_head_that_ends_infinite_is_refused(network, table, head_recipe):
    """The last step's update is seen by no loss."""
    wild = {"name": "sgd", "lr": 3e38, "weight_decay": 0.0, "momentum": 0.0}
    fields = {"epochs": 1, "batch_size": 30, "optimiser": wild, "schedule": {"kind": "step"}}
    recipe = type(head_recipe)(**{**head_recipe.model_dump(), **fields})
    net = network()
    net.body[4].weight.data *= 1e3
    with pytest.raises(TrainingDivergedError, match="the head is not finite at step 1 of epoch 1"):
        train_head(net, table, recipe)
    assert "sigmoid" not in net.heads


def test_nothing_to_train_needs_trained_weights(network, table, backbone_recipe):
    recipe = backbone_recipe.model_copy(update={"epochs": 0})
    net = network()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    assert train_backbone(net, table, recipe, evaluate=(table,)).losses == ()
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    net.needs_training = True
    with pytest.raises(UsageError, match="trains nothing, but tiny .* 3 classes of squares"):
        train_backbone(net, table, recipe)


def test_curves_for_tensorboard(tmp_path, network, table, tables, backbone_recipe, head_recipe):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def read(folder):
        events = EventAccumulator(str(folder)).Reload()
        return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}

    net = network()
    record = train_backbone(net, table, backbone_recipe, Means(log=TrainingLog(tmp_path / "backbone")))
    curves = read(tmp_path / "backbone")
    assert [step for step, _ in curves["loss/step"]] == list(range(12))
    assert [value for _, value in curves["loss/epoch"]] == pytest.approx(record.losses)
    assert [value for _, value in curves["top1/train"]] == pytest.approx(record.train_top1)
    test = tables(30, seed=1, split="test")
    head = train_head(
        net, table, head_recipe, means=Means(log=TrainingLog(tmp_path / "head")), evaluate=test, each_epoch=True
    )
    curves = read(tmp_path / "head")
    assert [value for _, value in curves["loss/epoch"]] == pytest.approx(head.losses)
    assert [v for _, v in curves["top1/evaluation/sigmoid"]] == pytest.approx([e["sigmoid"] for e in head.epoch_top1])


def test_without_tensorboard_the_message_says_what_to_install(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match=r"pip install 'cambench\[tensorboard\]'"):
        TrainingLog(tmp_path)
    TrainingLog().scalars(0, {"a": 1.0})
