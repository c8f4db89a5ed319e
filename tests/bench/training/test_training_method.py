"""The seam between the training loop and a way of training: each hook is asked, and interruptions change nothing."""

from typing import ClassVar

import pytest
import torch
from torch.nn import functional as F

from cambench.baselines.wsol import WsolMethod
from cambench.bench.training.backbone import train_backbone
from cambench.bench.training.means import Means


class Mixing(WsolMethod):
    """Mixes the images of a batch and has a second head, as CutMix and ACoL do."""

    name: ClassVar[str] = "mixing"
    cam: ClassVar[str] = "gradcam"

    def change_network(self, network):
        super().change_network(network)
        network.heads["second"] = network.head("softmax").fresh(torch.Generator().manual_seed(1))

    def change_batch(self, images, labels):
        order, share = torch.randperm(len(images)), torch.rand(())
        targets = F.one_hot(labels, 3).float()
        return torch.lerp(images, images[order], share), torch.lerp(targets, targets[order], share)

    def loss(self, network, images, targets):
        features = network.features(images)
        logits, second = network.heads["softmax"](features), network.heads["second"](features)
        return F.cross_entropy(logits, targets) + F.cross_entropy(second, targets), logits


class StopError(Exception):
    pass


@pytest.mark.parametrize("parts", [1, 2])
def test_a_method_changes_network_batch_and_loss_and_is_recorded(tmp_path, network, table, backbone_recipe, parts):
    recipe = backbone_recipe.model_copy(update={"accumulate": parts})
    whole, plain = network(), network()
    record = train_backbone(whole, table, recipe, seed=2, method=Mixing())
    assert (record.method, record.cam) == ("mixing", "gradcam")
    usual = train_backbone(plain, table, recipe, seed=2)
    assert (usual.method, usual.cam) == ("cam", "cam")
    assert record.losses[0] > usual.losses[0] + 0.5, "two heads"
    start = network().head("softmax").fresh(torch.Generator().manual_seed(1)).state_dict()
    trained = whole.heads["second"].state_dict()
    assert all(not torch.equal(start[key], trained[key]) for key in start)

    def stop(epoch, loss, top1):
        if epoch == 1:
            raise StopError

    state = tmp_path / "run.training"
    with pytest.raises(StopError):
        train_backbone(network(), table, recipe, Means(state_file=state), seed=2, method=Mixing(), epoch_done=stop)
    resumed = network()
    assert (
        train_backbone(resumed, table, recipe, Means(state_file=state), seed=2, method=Mixing()).losses == record.losses
    )
    assert all(torch.equal(value, resumed.state_dict()[key]) for key, value in whole.state_dict().items())


class Added(Mixing):
    """Draws its new head from torch's global generator, as ACoL and SPG draw their layers."""

    def change_network(self, network):
        super().change_network(network)
        network.heads["second"] = network.head("softmax").fresh()


def test_layers_that_a_method_adds_start_by_the_seed_of_the_training_alone(network, table, backbone_recipe):
    recipe = backbone_recipe.model_copy(update={"epochs": 0})
    found = []
    for seed, before in ((2, 0), (2, 1), (3, 0)):
        torch.manual_seed(before)
        net = network()
        train_backbone(net, table, recipe, seed=seed, method=Added())
        assert torch.initial_seed() == before
        found.append(net.heads["second"].linear.weight)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
