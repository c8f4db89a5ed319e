"""ROAD, sensitivity-n and the two sanity checks as metrics of a run: by name only, seeded, and of the network alone."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from cambench.baselines.backbones.opening import open_backbone
from cambench.baselines.cams.evidence import Evidence
from cambench.baselines.cams.method import CAMS
from cambench.baselines.cams.score_map import score_map
from cambench.baselines.contracts import HEADS
from cambench.bench.engine.scoring.randomised import Randomised, Redrawn, layers_from_the_top
from cambench.bench.engine.scoring.reading import Reading
from cambench.bench.notebook.runs import run
from cambench.metrics import METRICS, MapBatch
from cambench.metrics.functional.maps import locate
from cambench.protocol import PROTOCOLS, Protocol

NAMED = (
    *("road", "road_morf", "road_lerf", "sensitivity_n"),
    *("weight_randomisation_ssim", "weight_randomisation_rank"),
    *("logit_randomisation_ssim", "logit_randomisation_rank"),
)
PAPER = PROTOCOLS.get("paper")


@pytest.fixture
def brief(monkeypatch):
    """The paper's protocol with few shares, subsets and steps."""
    fields = {"name": "brief", "road_percents": (20, 70), "subset_percents": (30,), "subset_count": 4}
    monkeypatch.setitem(PROTOCOLS._entries, "brief", Protocol(**fields, cascade_steps=2))
    return "brief"


def test_in_a_run_its_tables_and_again(settings, brief):
    triples = ("slim_resnet/{cam,layercam,center}/softmax",)
    options = {**settings, "triples": triples, "protocol": brief, "limit": 4}
    found = run(**{**options, "metrics": NAMED}).run
    first = "slim_resnet/layercam/softmax"
    values = {name: found.column(first, f"extra:{name}") for name in NAMED}
    np.testing.assert_allclose(values["road"], (values["road_lerf"] - values["road_morf"]) / 2, atol=1e-12)
    assert all((np.abs(v) <= 1).all() and np.ptp(v) > 0 for v in values.values())
    center = "slim_resnet/center/softmax"
    for name in NAMED[4:]:
        np.testing.assert_allclose(found.column(center, f"extra:{name}"), 1, atol=1e-12, err_msg=name)
        assert values[name].max() < 0.999
    text = (settings["out"] / "tables" / "scores.md").read_text()
    assert "ROAD combined" in text
    assert f"{values['sensitivity_n'].mean():.3f}" in text

    # Other batches, another run without them: the same numbers, and the records that it had before.
    again = run(**{**options, "metrics": NAMED[:4], "batch_size": 3, "out": settings["out"].with_name("b")}).run
    for name in NAMED[:4]:
        np.testing.assert_allclose(again.column(first, f"extra:{name}"), values[name], atol=2e-5, err_msg=name)
    plain = run(**{**options, "out": settings["out"].with_name("c")}).run
    assert not {f"extra:{n}" for n in NAMED} & set(plain.columns(first))
    np.testing.assert_array_equal(plain.column(first, "o"), found.column(first, "o"))


def test_they_are_named_and_their_fields_leave_digests_as_they_were():
    assert all(METRICS.get(name).expensive for name in NAMED)
    assert PAPER.digest == Protocol(name="x").digest
    assert PAPER.digest != Protocol(name="x", road_noise=0.02).digest
    with pytest.raises(ValueError, match="road_percents must lie between 0 and 100"):
        Protocol(name="x", road_percents=(100,))


def small():
    net = open_backbone("slim_vgg", num_classes=5, pretrained=False)
    net.heads["sigmoid"] = net.fresh_head("sigmoid", torch.Generator().manual_seed(1))
    return net.freeze()


def test_the_cascade_draws_layers_from_the_top_and_leaves_the_network_alone():
    net = small()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    names = layers_from_the_top(net)
    assert {n.partition(".")[0] for n in names[:6]} == {"heads"}
    assert names[6] == "body.conv4_2.1"
    assert names[-1] == "body.conv1.0"
    random = Randomised(Reading(net, PAPER))
    half, all_of_it = (random.reading(step, 2).network.state_dict() for step in (1, 2))
    assert random.reading(1, 2) is random.reading(1, 2)
    chosen = names[: -(-len(names) // 2)]
    for key, value in before.items():
        layer = key.rpartition(".")[0]
        assert torch.equal(half[key], value) == (layer not in chosen) or value.numel() <= 96, key
        if layer in chosen:
            assert torch.equal(half[key], all_of_it[key]), "each step adds to the one before"
        else:
            assert half[key].data_ptr() == net.state_dict()[key].data_ptr(), "shared, not copied"
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    other = Randomised(Reading(small(), PAPER)).reading(2, 2).network.state_dict()
    assert all(torch.equal(v, all_of_it[k]) for k, v in other.items()), "a function of the layers' names"


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_maps_are_those_of_a_network_changed_by_hand(head):
    net, protocol = small(), PAPER
    reading = Reading(net, protocol)
    images = torch.randint(0, 256, (3, 3, 96, 96), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    seen, random = reading.see(images, ("a", "b", "c"), None), Randomised(reading)
    method, spec = CAMS.get("hirescam"), HEADS.get(head)
    redrawn = Redrawn(random.see_again(images, seen), method, spec)

    def direct(network, target):
        x = network.normalise(images.float() / 255)
        e = Evidence(network.features(x), network.head(spec.branch), target, ("a", "b", "c"), x, network)
        return locate(score_map(method, e, spec, protocol), protocol.map_rule, protocol.size)[1]

    by_hand = copy.deepcopy(net)
    by_hand.load_state_dict(random.reading(2, 4).network.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(redrawn.random_weights(2, 4), direct(by_hand, seen.target))
        other = redrawn.again.under_another_class().target
        assert (other != seen.target).all()
        assert other.max() < 5
        torch.testing.assert_close(redrawn.another_class(), direct(net, other))
    assert not torch.equal(direct(net, seen.target), redrawn.another_class())


def test_without_a_network_the_reason_is_said():
    maps = torch.rand(1, 16, 16)
    batch = MapBatch(("a",), maps, maps, maps[None], (), None, None, None, PAPER, lambda x, i: x.mean((1, 2, 3)))
    with pytest.raises(ValueError, match="came without a network"):
        METRICS.get("logit_randomisation_ssim").per_image(batch)


def test_a_class_token_network_is_randomised_too():
    net = open_backbone("timm:test_vit", num_classes=4, pretrained=False).freeze()
    reading = Reading(net, PAPER)
    images = torch.randint(0, 256, (1, 3, 224, 224), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    again = Randomised(reading).see_again(images, reading.see(images, ("a",), None))
    for cam in ("gradcam", "legrad"):
        redrawn = Redrawn(again, CAMS.get(cam), HEADS.get("softmax"))
        maps = torch.cat([redrawn.random_weights(step, 2) for step in (1, 2)])
        assert maps.isfinite().all()
        assert maps[0].std() > 0
