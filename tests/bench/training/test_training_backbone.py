import pytest
import torch

from cambench.baselines.backbones.opening import open_backbone
from cambench.bench.host.errors import RunError, UsageError
from cambench.bench.training.backbone import open_for_training, train_backbone
from cambench.bench.training.checkpoint import load_training
from cambench.bench.training.head import TrainingDivergedError
from cambench.bench.training.means import Means


class InterruptionError(Exception):
    pass


def interrupt_after(epoch):
    def stop(done, loss, accuracy):
        if done == epoch:
            raise InterruptionError

    return stop


def test_learns_freezes_and_records(network, table, tables, backbone_recipe):
    backbone = network()
    backbone.heads["sigmoid"] = backbone.head("softmax").fresh()
    recipe = backbone_recipe.model_copy(update={"epochs": 12})
    test = tables(30, seed=9, split="test")
    record = train_backbone(backbone, table, recipe, evaluate=(test,))
    assert record.losses[-1] < 0.7 * record.losses[0]
    assert record.eval_top1["test"] > 80
    assert record.eval_fingerprints == {"test": test.fingerprint}
    assert "sigmoid" not in backbone.heads
    assert not backbone.training
    assert not any(p.requires_grad for p in backbone.parameters())
    assert len(record.losses) == len(record.train_top1) == 12
    # Whole batches only; the time is all of the training's.
    steps = len(table) // recipe.batch_size
    assert record.images_per_second == pytest.approx(12 * steps * recipe.batch_size / record.seconds)
    assert record.peak_memory_mib > 1


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
@pytest.mark.parametrize("cache_bytes", [1 << 20, 0])
def test_interrupted_equals_uninterrupted(tmp_path, network, table, backbone_recipe, optimiser, cache_bytes):
    chosen = backbone_recipe.optimiser.model_copy(update={"name": optimiser})
    recipe = backbone_recipe.model_copy(update={"optimiser": chosen})
    whole = network("mlp")
    expected = train_backbone(whole, table, recipe, Means(cache_bytes=cache_bytes), seed=3)

    state = tmp_path / "run.training"
    for stop in (0, 2):
        torch.manual_seed(stop)
        with pytest.raises(InterruptionError):
            train_backbone(
                network("mlp"), table, recipe, Means(state_file=state), seed=3, epoch_done=interrupt_after(stop)
            )
    resumed = network("mlp")
    record = train_backbone(resumed, table, recipe, Means(state_file=state), seed=3)
    assert record.losses == expected.losses
    assert record.train_top1 == expected.train_top1
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key


def test_a_state_of_another_training_is_refused_and_kept(tmp_path, network, table, backbone_recipe):
    state = tmp_path / "run.training"
    with pytest.raises(InterruptionError):
        train_backbone(
            network(), table, backbone_recipe, Means(state_file=state), seed=0, epoch_done=interrupt_after(0)
        )
    content = state.read_bytes()
    others = [
        (network(), backbone_recipe, 1),
        (network(seed=8), backbone_recipe, 0),
        (network(), backbone_recipe.model_copy(update={"epochs": 9}), 0),
    ]
    for backbone, recipe, seed in others:
        with pytest.raises(UsageError, match="another training"):
            train_backbone(backbone, table, recipe, Means(state_file=state), seed=seed)
    assert state.read_bytes() == content
    state.write_bytes(b"not a state")
    with pytest.raises(UsageError, match="cannot be read"):
        load_training(state, "key")


def test_nan_stops_and_keeps_the_last_good_parameters(network, table, backbone_recipe):
    chosen = backbone_recipe.optimiser.model_copy(update={"name": "sgd", "lr": 1e30})
    backbone = network()
    first = {k: v.clone() for k, v in backbone.state_dict().items()}
    with pytest.raises(TrainingDivergedError, match=r"not finite at step \d+ of epoch 1"):
        train_backbone(backbone, table, backbone_recipe.model_copy(update={"optimiser": chosen}))
    for key, value in backbone.state_dict().items():
        assert torch.equal(value, first[key]), key


def test_head_rate_factor_reaches_the_head_alone(network, table, backbone_recipe):
    recipe = backbone_recipe.model_copy(update={"epochs": 1, "head_lr_factor": 1e-12, "augment": None})
    backbone = network()
    before = {k: v.detach().clone() for k, v in backbone.named_parameters()}
    train_backbone(backbone, table, recipe)
    moved = {k: float((v - before[k]).detach().abs().max()) for k, v in backbone.named_parameters()}
    assert max(v for k, v in moved.items() if k.startswith("heads.")) < 1e-8
    assert moved["body.0.weight"] > 1e-3


def test_bad_requests(network, tables, backbone_recipe):
    with pytest.raises(UsageError, match="built for 5 classes, squares has 3"):
        train_backbone(network(classes=5), tables(9), backbone_recipe)
    with pytest.raises(RunError, match="none of the 9 images"):
        train_backbone(network(), tables(9, broken=range(9)), backbone_recipe)


def test_unreadable_images_are_named(network, tables, backbone_recipe):
    record = train_backbone(network(), tables(20, broken=(5,)), backbone_recipe)
    assert (record.images, record.failures) == (19, ("train/5",))


def test_body_of_another_network_is_copied_where_it_fits(backbone_recipe):
    recipe = backbone_recipe.model_copy(update={"body_from": "slim_vgg_gap"})
    started = open_for_training("slim_vgg", 12, recipe, None, 0).state_dict()
    source = open_backbone("slim_vgg_gap").state_dict()
    body = [k for k in started if k.startswith("body.")]
    assert body
    assert all(torch.equal(started[k], source[k]) for k in body)
    scratch = open_for_training("slim_vgg", 12, backbone_recipe, None, 0).state_dict()
    assert all(torch.equal(started[k], v) for k, v in scratch.items() if k.startswith("heads."))
    assert not torch.equal(started["body.conv2.0.weight"], scratch["body.conv2.0.weight"])
    assert backbone_recipe.digest != recipe.digest
    with pytest.raises(UsageError, match="no parameter of it fits"):
        open_for_training(
            "slim_inception", 12, backbone_recipe.model_copy(update={"body_from": "efficientnet_lite0"}), None, 0
        )


def test_first_parameters_follow_the_seed(backbone_recipe):
    first, same, other = (
        open_for_training("slim_resnet", 12, backbone_recipe, None, seed).state_dict()["body.stem.0.weight"]
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)
