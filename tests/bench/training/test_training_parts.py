"""A batch in parts and over processes: gradient accumulation, torchrun, BatchNorm, mixed precision, memory layout."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from cambench.baselines.contracts import Backbone
from cambench.baselines.heads.heads import GapLinear
from cambench.bench.host.errors import UsageError
from cambench.bench.training.backbone import train_backbone
from cambench.bench.training.means import Means
from cambench.bench.training.recipes.optim import epoch_order
from cambench.bench.training.steps.fabric import open_fabric
from cambench.bench.training.steps.microbatches import Parts, RunningStatistics


class PlainNet(Backbone):
    """No BatchNorm, no dropout."""

    name, feature_layer, nonnegative = "plain", "body", True

    def __init__(self):
        super().__init__((0.5,) * 3, (0.25,) * 3)
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.ReLU())
        self.heads["softmax"] = GapLinear(8, 3)
        self.num_classes, self.head_kind = 3, "gap_linear"

    def features(self, images):
        return self.body(images)


def plain():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return PlainNet()


@pytest.fixture
def sgd_recipe(backbone_recipe):
    """Two epochs of SGD: Adam would blow rounding up where gradients vanish."""
    optimiser = {"name": "sgd", "lr": 0.05, "weight_decay": 0.001}
    fields = {"epochs": 2, "optimiser": optimiser, "schedule": {"kind": "step", "milestones": [1]}}
    return type(backbone_recipe)(**{**backbone_recipe.model_dump(), **fields})


@pytest.mark.parametrize("parts", [2, 3, 8])
def test_accumulated_gradients_are_those_of_the_whole_batch(tables, sgd_recipe, parts):
    table = tables(30, broken=(4, 17))
    whole, cut = plain(), plain()
    first = train_backbone(whole, table, sgd_recipe, Means(cache_bytes=0))
    second = train_backbone(cut, table, sgd_recipe.model_copy(update={"accumulate": parts}), Means(cache_bytes=0))
    assert second.losses == pytest.approx(first.losses, rel=1e-5)
    assert (second.train_top1, second.parts, first.parts) == (first.train_top1, parts, 1)
    assert second.recipe_digest != first.recipe_digest
    for key, value in whole.state_dict().items():
        torch.testing.assert_close(cut.state_dict()[key], value, rtol=1e-4, atol=1e-6)


def test_running_statistics_are_the_mean_over_the_parts(network):
    net, twin = network().train(), network().train()
    images = torch.randn(8, 3, 16, 16)
    statistics = RunningStatistics(net)
    statistics.begin()
    for part in images.split(2):
        net.features(part)
        statistics.add(0.25)
    statistics.finish(torch.tensor(1.0))
    before, after = twin.body[1].running_mean.clone(), net.body[1].running_mean
    means = [twin.body[0](part).mean((0, 2, 3)) for part in images.split(2)]
    torch.testing.assert_close(after, 0.9 * before + 0.1 * torch.stack(means).mean(0))
    statistics.begin()
    statistics.finish(torch.tensor(0.0))
    torch.testing.assert_close(net.body[1].running_mean, after, msg="a batch without images changes nothing")


def test_parts_cover_a_batch_once():
    for batch, count, world in ((32, 1, 1), (33, 8, 4), (5, 5, 5), (32, 3, 3)):
        mine = [Parts.of(batch, count, r, world) for r in range(world)]
        spans = [p.bounds(k) for p in mine for k in p.mine]
        assert [i for low, high in spans for i in range(low, high)] == list(range(batch))
        assert max(high - low for low, high in spans) == -(-batch // count)
    assert Parts.of(32, 1, 0, 2).count == 2
    assert Parts.of(32, 1, 0, 2).smaller(5) == 8
    with pytest.raises(UsageError, match="multiple of 2"):
        Parts.of(32, 3, 0, 2)
    with pytest.raises(UsageError, match="4 images cannot be cut into 8"):
        Parts.of(4, 8)


BROKEN = tuple({4, *epoch_order(30, 3, 0)[8:12]})
"""One image, and all that the first of two processes would read in the second step."""

OTHER_PROCESS = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from conftest import TinyNet, make_table
from cambench.bench.training.recipes.recipe import BackboneRecipe
from test_training_parts import train_together
train_together(TinyNet, make_table, BackboneRecipe.model_validate_json(Path(sys.argv[2]).read_text()))
"""


def train_together(build, tables, recipe, **options):
    """What each process of a training does; network and record."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = build("mlp")
    test = tables(21, seed=9, split="test")
    table = tables(30, broken=BROKEN)
    fabric = open_fabric("cpu", recipe.dtype)
    try:
        return net, train_backbone(net, table, recipe, Means(fabric=fabric, **options), seed=3, evaluate=(test,))
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def test_two_processes_equal_two_parts(tmp_path, monkeypatch, network, tables, sgd_recipe):
    """As ``torchrun`` starts them: gradients, BatchNorm, dropout, accuracy are those of one process with two parts."""
    build = type(network())
    alone, expected = train_together(build, tables, sgd_recipe.model_copy(update={"accumulate": 2}))
    (tmp_path / "recipe.json").write_text(sgd_recipe.model_dump_json())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    together = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0", "MASTER_ADDR": "127.0.0.1"}
    for name, value in {**together, "MASTER_PORT": str(port), "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-c", OTHER_PROCESS, str(Path(__file__).parent), str(tmp_path / "recipe.json")]
    other = subprocess.Popen(command)
    try:
        monkeypatch.setenv("RANK", "0")
        monkeypatch.setenv("LOCAL_RANK", "0")
        net, record = train_together(build, tables, sgd_recipe, state_file=tmp_path / "run.training")
        assert other.wait(200) == 0
    finally:
        other.kill()
    assert (record.processes, record.parts, expected.processes, expected.parts) == (2, 2, 1, 2)
    assert record.losses == pytest.approx(expected.losses, rel=1e-5)
    assert (record.train_top1, record.eval_top1) == (expected.train_top1, expected.eval_top1)
    assert record.failures == expected.failures == tuple(f"train/{i}" for i in sorted(BROKEN))
    for key, value in alone.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            torch.testing.assert_close(net.state_dict()[key], value, rtol=1e-4, atol=1e-6, msg=key)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_mixed_precision_stays_near_float32(table, sgd_recipe, dtype):
    exact, low = plain(), plain()
    first = train_backbone(exact, table, sgd_recipe)
    second = train_backbone(low, table, sgd_recipe.model_copy(update={"dtype": dtype}))
    assert second.losses == pytest.approx(first.losses, rel=0.02)
    assert second.losses != first.losses
    assert all(p.dtype == torch.float32 for p in low.parameters())
    for key, value in exact.state_dict().items():
        torch.testing.assert_close(low.state_dict()[key], value, rtol=0.1, atol=0.01)


@pytest.mark.parametrize("dtype", ["float32", "tf32"])
def test_products_are_rounded_as_the_recipe_says(table, sgd_recipe, dtype):
    seen, net = [], plain()
    net.body[0].register_forward_pre_hook(lambda *_: seen.append(torch.backends.cudnn.allow_tf32))
    train_backbone(net, table, sgd_recipe.model_copy(update={"dtype": dtype, "epochs": 1}))
    assert set(seen) == {dtype == "tf32"}


def test_channels_last_changes_rounding_alone(table, sgd_recipe):
    seen, nets = [], []
    for layout in (True, False):
        net = plain()
        net.body[0].register_forward_pre_hook(
            lambda m, inputs: seen.append(inputs[0].is_contiguous(memory_format=torch.channels_last))
        )
        train_backbone(net, table, sgd_recipe.model_copy(update={"channels_last": layout, "epochs": 1}))
        nets.append(net)
    half = len(seen) // 2
    assert all(seen[:half])
    assert not any(seen[half:])
    for key, value in nets[0].state_dict().items():
        torch.testing.assert_close(nets[1].state_dict()[key], value, rtol=1e-4, atol=1e-6)


def test_layers_named_in_the_recipe_train_at_the_heads_rate(table, sgd_recipe):
    recipe = sgd_recipe.model_copy(update={"epochs": 1, "head_lr_factor": 1e-9, "head_like": ("body.2.",)})
    net = plain()
    before = {k: v.detach().clone() for k, v in net.named_parameters()}
    train_backbone(net, table, recipe)
    moved = {k: float((v - before[k]).abs().max()) for k, v in net.named_parameters()}
    assert max(moved["body.2.weight"], moved["heads.softmax.linear.weight"]) < 1e-8 < 1e-5 < moved["body.0.weight"]
