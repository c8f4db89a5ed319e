import copy

import numpy as np
import pytest
import torch

from cambench.baselines.contracts import Head
from cambench.baselines.weights.weight_files import WeightsError
from cambench.bench.host.errors import RunError, UsageError
from cambench.bench.training.checkpoint import save_tensors
from cambench.bench.training.head import TrainingDivergedError, load_head, save_head, top1, train_head
from cambench.bench.training.images.features import pooling_is_exact
from cambench.bench.training.means import Means
from cambench.bench.training.recipes.optim import epoch_order
from cambench.datasets.batches.loading import load_batches


def states(module):
    return {k: v.clone() for k, v in module.state_dict().items()}


def assert_same(first, second):
    assert first.keys() == second.keys()
    for key, value in first.items():
        assert torch.equal(value, second[key]), key


@pytest.mark.parametrize("kind", ["gap", "mlp"])
def test_sigmoid_branch_learns_and_leaves_everything_else_untouched(kind, network, table, tables, head_recipe):
    backbone = network(kind).train()
    pixels = torch.rand(5, 3, 16, 16)
    with torch.no_grad():
        before = copy.deepcopy(backbone).freeze()(pixels)
    frozen = states(backbone)
    recipe = head_recipe.model_copy(update={"epochs": 30})
    record = train_head(backbone, table, recipe, evaluate=tables(30, seed=1, split="test"))
    assert record.losses[-1] < 0.8 * record.losses[0]
    assert record.eval_top1["sigmoid"] > 80
    assert torch.equal(backbone(pixels), before)
    after = {k: v for k, v in states(backbone).items() if not k.startswith("heads.sigmoid.")}
    assert_same(after, frozen)
    assert not backbone.training
    assert not any(p.requires_grad for p in backbone.parameters())
    assert (record.backbone_passes, record.cached, record.pooled) == (1, True, True)
    assert set(record.train_top1) == {"softmax", "sigmoid"}
    assert record.data_fingerprint == table.fingerprint


@pytest.mark.parametrize("kind", ["gap", "mlp"])
def test_cached_and_streamed_features_train_the_same_head(kind, network, tables, head_recipe):
    table = tables(30, broken=(4, 17))
    cached, streamed = network(kind), network(kind)
    first = train_head(cached, table, head_recipe)
    second = train_head(streamed, table, head_recipe, means=Means(cache_bytes=first.cache_bytes - 1))
    assert (first.cached, second.cached) == (True, False)
    assert (first.backbone_passes, second.backbone_passes) == (1, head_recipe.epochs)
    assert first.cache_bytes == second.cache_bytes
    assert first.losses == pytest.approx(second.losses, rel=1e-5)
    assert first.train_top1 == second.train_top1
    assert first.failures == second.failures == ("train/4", "train/17")
    assert first.images == 28
    for key, value in states(cached.head("sigmoid")).items():
        torch.testing.assert_close(value, states(streamed.head("sigmoid"))[key], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["gap", "mlp"])
def test_a_seed_decides_the_head_to_the_bit(kind, network, table, head_recipe):
    heads = []
    for seed, noise in ((3, 0), (3, 99), (4, 0)):
        torch.manual_seed(noise)
        backbone = network(kind)
        train_head(backbone, table, head_recipe, seed=seed)
        heads.append(states(backbone.head("sigmoid")))
    assert_same(heads[0], heads[1])
    assert any(not torch.equal(v, heads[2][k]) for k, v in heads[0].items())


def test_training_leaves_the_global_generator_alone(network, table, head_recipe):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train_head(network("mlp"), table, head_recipe)
    assert torch.equal(torch.rand(3), expected)


def test_one_step_of_plain_sgd_is_the_gradient_of_eq_12(network, table, head_recipe):
    """From the recorded start, one full-batch step by an independent float64 formula."""
    plain = {"name": "sgd", "lr": 0.5, "weight_decay": 0.0, "momentum": 0.0}
    settings = {"epochs": 1, "batch_size": 30, "optimiser": plain, "schedule": {"kind": "step"}}
    recipe = type(head_recipe)(**{**head_recipe.model_dump(), **settings})
    frozen = recipe.model_copy(update={"optimiser": recipe.optimiser.model_copy(update={"lr": 1e-30})})
    start, moved = network(), network()
    train_head(start, table, frozen)
    train_head(moved, table, recipe)
    batch = next(load_batches(table, range(30), 16, 30, 0, masks=False))
    with torch.no_grad():
        pooled = moved.features(moved.normalise(batch.images / 255)).mean((2, 3)).double()
    old = start.head("sigmoid").linear
    weight, bias = old.weight.double(), old.bias.double()
    target = torch.nn.functional.one_hot(batch.labels, 3).double()
    score = torch.sigmoid(pooled @ weight.T + bias)
    slope = (-(1 - 1 / 3) * target * (1 - score) + (1 / 3) * (1 - target) * score) / 30
    new = moved.head("sigmoid").linear
    torch.testing.assert_close(new.weight.double(), weight - 0.5 * slope.T @ pooled, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(new.bias.double(), bias - 0.5 * slope.sum(0), rtol=1e-5, atol=1e-6)


def test_whole_training_is_that_of_an_independent_float64_implementation(network, tables, head_recipe):
    """The published schedule: SGD, Nesterov, weight decay, a tenth in the last epoch; Eq. 12 in NumPy, with its own
    momentum, and torch's BCEWithLogits with ``pos_weight`` beside it."""
    table = tables(30)
    sgd = {"name": "sgd", "lr": 0.3, "weight_decay": 5e-4, "momentum": 0.9, "nesterov": True}
    schedule = {"kind": "step", "milestones": [2], "gamma": 0.1}
    fields = {"epochs": 3, "batch_size": 8, "optimiser": sgd, "schedule": schedule}
    recipe = type(head_recipe)(**{**head_recipe.model_dump(), **fields})
    start, trained = network(), network()
    train_head(start, table, recipe.model_copy(update={"optimiser": recipe.optimiser.model_copy(update={"lr": 1e-30})}))
    record = train_head(trained, table, recipe, seed=0)

    batch = next(load_batches(table, range(30), 16, 30, 0, masks=False))
    with torch.no_grad():
        pooled = trained.features(trained.normalise(batch.images / 255)).mean((2, 3)).double().numpy()
    labels = batch.labels.numpy()
    linear = start.head("sigmoid").linear
    weight, bias = linear.weight.double().numpy().copy(), linear.bias.double().numpy().copy()
    speed, losses = [np.zeros_like(weight), np.zeros_like(bias)], []
    beside = torch.nn.BCEWithLogitsLoss(pos_weight=torch.full((3,), 2.0, dtype=torch.float64))
    for epoch in range(3):
        rate, order, total = 0.3 * (0.1 if epoch == 2 else 1.0), epoch_order(30, 0, epoch), 0.0
        for first in range(0, 30, 8):
            rows = order[first : first + 8]
            x, y = pooled[rows], np.eye(3)[labels[rows]]
            logits = x @ weight.T + bias
            score = 1 / (1 + np.exp(-logits))
            terms = (1 - 1 / 3) * y * np.log(score) + (1 / 3) * (1 - y) * np.log(1 - score)
            loss = -terms.sum() / len(rows)
            assert float(beside(torch.tensor(logits), torch.tensor(y))) == pytest.approx(loss, rel=1e-12)
            total += loss * len(rows)
            slope = (-(1 - 1 / 3) * y * (1 - score) + (1 / 3) * (1 - y) * score) / len(rows)
            for i, (value, gradient) in enumerate(((weight, slope.T @ x), (bias, slope.sum(0)))):
                gradient = gradient + 5e-4 * value
                speed[i] = 0.9 * speed[i] + gradient
                value -= rate * (gradient + 0.9 * speed[i])
        losses.append(total / 30)
    assert record.losses == pytest.approx(losses, rel=1e-5)
    end = trained.head("sigmoid").linear
    np.testing.assert_allclose(end.weight.numpy(), weight, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(end.bias.numpy(), bias, rtol=1e-4, atol=1e-6)


def test_both_heads_are_scored_after_each_epoch_from_one_pass(network, table, tables, head_recipe):
    test = tables(21, seed=1, split="test")
    backbone = network("mlp")
    clean, seen = backbone.features, []

    def counted(images):
        seen.append(len(images))
        return clean(images)

    backbone.features = counted
    record = train_head(backbone, table, head_recipe, evaluate=test, each_epoch=True)
    assert sum(seen) == 30 + 21, "one pass over each split"
    assert len(record.epoch_top1) == head_recipe.epochs
    assert record.epoch_top1[-1] == record.eval_top1 == top1(backbone, test, 16, "cpu")
    assert len({e["softmax"] for e in record.epoch_top1}) == 1, "the softmax head is frozen"
    assert len({e["sigmoid"] for e in record.epoch_top1}) > 1
    plain = network("mlp")
    again = train_head(plain, table, head_recipe, evaluate=test)
    assert again.epoch_top1 == ()
    assert_same(states(plain.head("sigmoid")), states(backbone.head("sigmoid")))


def test_softmax_head_for_other_classes(network, table, tables, head_recipe):
    backbone = network(classes=7)
    backbone.heads["sigmoid"] = backbone.head("softmax").fresh()
    record = train_head(backbone, table, head_recipe.model_copy(update={"epochs": 30}), "softmax")
    assert (backbone.num_classes, backbone.head("softmax").num_classes, record.num_classes) == (3, 3, 3)
    assert "sigmoid" not in backbone.heads
    assert record.losses[-1] < record.losses[0]
    assert top1(backbone, tables(30, seed=2), 16, "cpu")["softmax"] > 80
    with pytest.raises(UsageError, match="7 classes"):
        train_head(network(classes=7), table, head_recipe)


def test_augmentation_streams_and_is_recorded(network, table, head_recipe):
    recipe = type(head_recipe)(**{**head_recipe.model_dump(), "augment": {"load_size": 20}})
    record = train_head(network(), table, recipe)
    assert (record.cached, record.backbone_passes) == (False, recipe.epochs)
    assert record.recipe["augment"]["load_size"] == 20
    assert record.losses[-1] < record.losses[0]


def test_nan_stops_names_the_step_and_keeps_the_last_good_state(network, table, head_recipe):
    constant = type(head_recipe)(**{**head_recipe.model_dump(), "schedule": {"kind": "step"}})
    backbone, calls = network(), []
    clean = backbone.features

    def poisoned(images):
        calls.append(len(images))
        # One call decides on the cache; 30 images in batches of 8 are 4 steps an epoch.
        return clean(images) * (float("nan") if len(calls) == 1 + 4 + 3 else 1.0)

    backbone.features = poisoned
    with pytest.raises(TrainingDivergedError, match="not finite at step 3 of epoch 2") as caught:
        train_head(backbone, table, constant, means=Means(cache_bytes=0))
    assert "sigmoid" not in backbone.heads
    assert caught.value.good_epochs == 1
    reference = network()
    train_head(reference, table, constant.model_copy(update={"epochs": 1}), means=Means(cache_bytes=0))
    assert_same(caught.value.state, states(reference.head("sigmoid")))


def test_a_rate_that_explodes_is_a_failure_not_a_head(network, table, head_recipe):
    wild = head_recipe.optimiser.model_copy(update={"name": "sgd", "lr": 1e30, "weight_decay": 1.0})
    with pytest.raises(TrainingDivergedError, match=r"step \d+ of epoch 1"):
        train_head(network(), table, head_recipe.model_copy(update={"optimiser": wild}))


def test_bad_tables(network, tables, head_recipe):
    with pytest.raises(RunError, match="none of the 6 images"):
        train_head(network(), tables(6, broken=range(6)), head_recipe)
    with pytest.raises(RunError, match="no images"):
        train_head(network(), tables(6).head(0), head_recipe)


def test_checkpoint_round_trip(tmp_path, network, table, head_recipe):
    backbone = network("mlp")
    record = train_head(backbone, table, head_recipe)
    file = tmp_path / "deep" / "head.safetensors"
    save_head(file, backbone.head("sigmoid"), "sigmoid", record.model_dump(mode="json"))
    other = network("mlp")
    assert load_head(file, other) == record.model_dump(mode="json")
    assert_same(states(other), states(backbone))
    assert not any(p.requires_grad for p in other.parameters())
    assert [p.name for p in file.parent.iterdir()] == [file.name]


def test_checkpoint_that_does_not_fit(tmp_path, network, table, head_recipe):
    backbone = network()
    record = train_head(backbone, table, head_recipe).model_dump(mode="json")
    file = tmp_path / "head.safetensors"
    save_head(file, backbone.head("sigmoid"), "sigmoid", record)
    with pytest.raises(UsageError, match="3 classes, but the network has 5"):
        load_head(file, network(classes=5))
    with pytest.raises(WeightsError, match=r"missing: mlp|unexpected: linear"):
        load_head(file, network("mlp"))
    with pytest.raises(UsageError, match="holds the sigmoid branch"):
        load_head(file, network(), "softmax")
    renamed = network()
    renamed.name = "other"
    with pytest.raises(UsageError, match="tiny's features"):
        load_head(file, renamed)
    plain = tmp_path / "plain.safetensors"
    save_tensors(plain, {"a": torch.zeros(1)}, {})
    with pytest.raises(UsageError, match="not a head"):
        load_head(plain, network())
    with pytest.raises(WeightsError, match="no such file"):
        load_head(tmp_path / "none.safetensors", network())


def test_pooling_is_verified_not_believed(network):
    class Liar(Head):
        kind = "gap_linear"
        num_classes = 3

        def forward(self, features):
            return features.amax((2, 3))[:, :3]

        fresh = None

    features = torch.rand(4, 8, 3, 3)
    assert not pooling_is_exact([Liar()], features)
    assert pooling_is_exact([network().head()], features)
    assert not pooling_is_exact([network("mlp").head()], features)
    head = network().head()
    assert torch.equal(head(features), head(features.mean((2, 3), keepdim=True)))
