"""A wide first layer trained by its cached inputs: the same head as SGD on its weights."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cambench.baselines.heads.heads import GapLinear, MlpHead
from cambench.bench.training.head import TrainingDivergedError, train_head
from cambench.bench.training.means import Means
from cambench.bench.training.recipes.recipe import HeadRecipe, Optimiser
from cambench.bench.training.steps import wide_layer as training_steps
from cambench.bench.training.steps.wide_layer import CachedInputSteps, HeadSteps, head_steps

IMAGES = 20
SGD = {"name": "sgd", "lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}


def wide_head(dtype=torch.float64, bias=True):
    torch.manual_seed(0)
    head = MlpHead(6, 3, hidden=(16, 8), pool=4, dropout=0.3).to(dtype)
    if not bias:
        head.mlp[0].bias = None
    return head.train()


def features_of(count=IMAGES, dtype=torch.float64):
    return torch.randn(count, 6, 4, 4, dtype=dtype, generator=torch.Generator().manual_seed(1))


def walk(steps, features, count=25):
    """Steps on changing images at changing rates; the loss of each."""
    losses, generator = [], torch.Generator().manual_seed(2)
    for i in range(count):
        rows = torch.randperm(len(features), generator=generator)[:6]
        torch.manual_seed(i)
        steps.clear()
        loss = F.cross_entropy(steps.logits(features[rows], rows), rows % 3)
        loss.backward()
        steps.step(0.1 if i > 17 else 1.0)
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "changes",
    [{}, {"nesterov": False}, {"momentum": 0.0}, {"weight_decay": 0.0}, {"decay_vectors": False, "weight_decay": 0.3}],
)
def test_steps_by_cached_inputs_are_those_of_torchs_sgd(changes, bias):
    spec, features = Optimiser(**{**SGD, **changes}), features_of()
    direct = wide_head(bias=bias)
    cached = copy.deepcopy(direct)
    reference = HeadSteps(direct, spec)
    expected = walk(reference, features)
    steps = head_steps(cached, spec, features)
    assert isinstance(steps, CachedInputSteps)
    assert walk(steps, features) == pytest.approx(expected, rel=1e-10)
    steps.settle(last=True)
    start = wide_head(bias=bias).state_dict()
    for key, value in direct.state_dict().items():
        torch.testing.assert_close(cached.state_dict()[key], value, rtol=1e-9, atol=1e-12)
        assert not torch.allclose(value, start[key], atol=1e-4), key


def test_the_head_can_be_asked_for_between_steps():
    spec, features = Optimiser(**SGD), features_of()
    direct, cached = wide_head(), wide_head()
    plain, steps = HeadSteps(direct, spec), head_steps(cached, spec, features)
    walk(plain, features, 5)
    walk(steps, features, 5)
    state = steps.state()
    steps.settle()
    early = copy.deepcopy(cached.state_dict())
    walk(plain, features, 5)
    walk(steps, features, 5)
    steps.settle()
    for key, value in direct.state_dict().items():
        torch.testing.assert_close(cached.state_dict()[key], value, rtol=1e-9, atol=1e-12)
    assert state().keys() == early.keys()
    for key, value in state().items():
        torch.testing.assert_close(value, early[key], rtol=1e-12, atol=1e-14)


def test_only_where_it_is_the_same_and_takes_no_more_memory():
    head, sgd, features = wide_head(), Optimiser(**SGD), features_of()
    assert isinstance(head_steps(head, sgd, features), CachedInputSteps)
    others = [
        (head, sgd, None),
        (head, sgd, features.float()),
        (head, sgd, features[:, :, :2]),
        (head, sgd, features_of(60)),
        (head, Optimiser(name="adamw", lr=0.1, weight_decay=0.0), features),
        (GapLinear(6, 3).double(), sgd, features),
    ]
    assert [type(head_steps(*other)) for other in others] == [HeadSteps] * len(others)
    with pytest.raises(TypeError, match="first linear layer"):
        CachedInputSteps(GapLinear(6, 3), sgd, features.flatten(1))


def test_too_little_memory_for_the_products_leaves_the_plain_steps(monkeypatch):
    def no_memory(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(CachedInputSteps, "__init__", no_memory)
    assert type(head_steps(wide_head(), Optimiser(**SGD), features_of())) is HeadSteps


@pytest.mark.parametrize("branch", ["sigmoid", "softmax"])
def test_training_of_a_wide_head_is_the_streamed_one(branch, network, tables, head_recipe, monkeypatch):
    table, recipe = tables(30, broken=(4, 17)), recipe_of(head_recipe)
    made = []
    monkeypatch.setattr(training_steps, "CachedInputSteps", lambda *a: made.append(CachedInputSteps(*a)) or made[-1])
    heads, records = [], []
    for budget in (1 << 20, 0):
        backbone = wide_network(network)
        evaluate = tables(12, seed=1, split="test")
        records.append(
            train_head(backbone, table, recipe, branch, Means(cache_bytes=budget), evaluate=evaluate, each_epoch=True)
        )
        heads.append(backbone.head(branch))
    assert len(made) == 1
    assert [r.cached for r in records] == [True, False]
    assert records[0].losses == pytest.approx(records[1].losses, rel=1e-4)
    assert records[0].train_top1 == records[1].train_top1
    assert records[0].epoch_top1 == records[1].epoch_top1
    for key, value in heads[0].state_dict().items():
        torch.testing.assert_close(value, heads[1].state_dict()[key], rtol=1e-3, atol=1e-5)


def test_a_wide_head_that_explodes_keeps_the_last_good_state(network, tables, head_recipe):
    table = tables(30)
    recipe = recipe_of(head_recipe, milestones=(1,), gamma=1e35)
    with pytest.raises(TrainingDivergedError, match="of epoch 2") as caught:
        train_head(wide_network(network), table, recipe)
    reference = wide_network(network)
    train_head(reference, table, recipe.model_copy(update={"epochs": 1}))
    assert caught.value.state.keys() == reference.head("sigmoid").state_dict().keys()
    for key, value in reference.head("sigmoid").state_dict().items():
        torch.testing.assert_close(caught.value.state[key], value, rtol=1e-5, atol=1e-7)


def recipe_of(recipe, milestones=(2,), gamma=0.1):
    fields = {"epochs": 3, "optimiser": SGD, "schedule": {"kind": "step", "milestones": milestones, "gamma": gamma}}
    return HeadRecipe(**{**recipe.model_dump(), **fields})


def wide_network(network):
    """A tiny network whose 128 pooled features meet 64 outputs: the shortcut's case for 30 images."""
    backbone = network("mlp")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        backbone.heads["softmax"] = MlpHead(8, 3, hidden=(64,), pool=4)
    assert isinstance(backbone.body, nn.Sequential)
    return backbone
