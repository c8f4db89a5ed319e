"""The torchmetrics classes as citizens: compute groups, devices, precision, pickling, two processes, bad input."""

import pickle
import socket

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from metric_batches import COUNT, batch, cut, everything, values, work
from torchmetrics import MetricCollection

from cambench.hashing import id_seeds, normals, uniforms
from cambench.metrics import (
    METRICS,
    AverageDrop,
    Deletion,
    EnergyPointingGame,
    EvidencePrecision,
    GTKnownLoc,
    Insertion,
    MapBatch,
    MapRankCorrelation,
    MapSSIM,
    MaxBoxAcc,
    MaxBoxAccV2,
    PointingGame,
    PxAP,
    Road,
    RoadLeRF,
    RoadMoRF,
    SensitivityN,
    Top1Cls,
    Top1Loc,
)
from cambench.metrics.functional.similarity import rank_correlation, structural_similarity
from cambench.protocol import Protocol


def test_one_update_serves_each_group():
    grouped, data = everything(), batch()
    alone = {name: metric.clone() for name, metric in grouped.items()}
    for part in (slice(0, 10), slice(10, COUNT)):
        grouped.update(**cut(data, part))
        for metric in alone.values():
            metric.update(**metric._filter_kwargs(**cut(data, part)))
    groups = sorted(map(sorted, grouped.compute_groups.values()))
    assert ["GTKnownLoc", "MaxBoxAcc", "MaxBoxAccV2", "Top1Loc"] in groups
    assert ["AverageDrop", "AverageGain", "IncreaseInConfidence"] in groups
    assert len(groups) == 4
    assert values(grouped) == {name: float(metric.compute()) for name, metric in alone.items()}
    assert len(set(values(grouped).values())) > 6


def test_unlike_protocols_are_not_grouped():
    data = {k: v for k, v in batch(count=2).items() if k in ("maps", "gt_boxes")}
    both = MetricCollection(
        {"a": MaxBoxAccV2(iou_thresholds=(0.3, 0.5, 0.97)), "b": MaxBoxAccV2(iou_thresholds=(0.3, 0.5, 0.98))}
    )
    both.update(**data)
    assert len(both.compute_groups) == 2


def test_reset_forward_and_pickle():
    collection, data = everything(), batch()
    collection.update(**data)
    before = values(collection)
    assert values(pickle.loads(pickle.dumps(collection))) == before
    collection.reset()
    assert {k: float(v) for k, v in collection(**data).items()} == before
    collection.load_state_dict(collection.state_dict())


def test_half_precision_maps_equal_their_float64_values():
    data = batch()
    half, double = everything(), everything()
    half.update(**data | {"maps": data["maps"].half()})
    double.update(**data | {"maps": data["maps"].half().double()})
    assert values(half) == values(double)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_equals_cpu():
    data, host, device = batch(), everything(), everything().to("cuda")
    host.update(**data)
    device.update(**{k: v.cuda() if torch.is_tensor(v) else v for k, v in data.items()})
    assert values(device) == values(host)


def test_device_moves_keep_integer_states():
    metric = MaxBoxAcc().to("cpu").half().double()
    metric.update(batch()["maps"], batch()["gt_boxes"])
    assert metric.counts.dtype == torch.int64


@pytest.mark.slow
def test_two_processes_equal_one(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    mp.spawn(work, (port, str(tmp_path)), nprocs=2)
    single = everything()
    single.update(**batch())
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pt", weights_only=True) == values(single)


def test_val_threshold_must_be_given():
    protocol = GTKnownLoc().protocol.model_copy(update={"loc_threshold": "val"})
    data = batch()
    args = (data["maps"], data["gt_boxes"], data["predicted"], data["labels"])
    val = GTKnownLoc(protocol)
    val.update(*args)
    with pytest.raises(ValueError, match="validation"):
        val.compute()
    tau = val.best_tau()
    chosen = GTKnownLoc(protocol, tau=tau)
    chosen.update(*args)
    oracle = GTKnownLoc(protocol.model_copy(update={"loc_threshold": "oracle"}))
    oracle.update(*args)
    assert float(chosen.compute()) == float(oracle.compute()) == float(val.curve(0.5, "single").max())


def test_degenerate_maps_are_counted():
    data = batch(count=4)
    data["maps"][0], data["maps"][1, 2, 2] = 0.3, torch.nan
    boxes, pixels = MaxBoxAcc(), PxAP()
    boxes.update(data["maps"], data["gt_boxes"])
    pixels.update(data["maps"], data["masks"])
    assert boxes.degenerate.tolist() == pixels.degenerate.tolist() == [1, 1]


def test_bad_input_is_told():
    data = batch(count=2)
    with pytest.raises(ValueError, match="'b' has no ground-truth box"):
        MaxBoxAcc().update(data["maps"], [data["gt_boxes"][0], np.zeros((0, 4), int)], image_ids=["a", "b"])
    with pytest.raises(ValueError, match="both predicted and labels"):
        Top1Loc().update(data["maps"], data["gt_boxes"], predicted=data["predicted"])
    metric = Top1Loc()
    metric.update(data["maps"], data["gt_boxes"])
    with pytest.raises(ValueError, match="predicted and labels for every image"):
        metric.compute()
    with pytest.raises(ValueError, match=r"tau must be in \[0, 1\]"):
        GTKnownLoc(tau=1.2)
    with pytest.raises(ValueError, match="image 1 of the batch"):
        PxAP().update(data["maps"], data["masks"].index_fill(0, torch.tensor([1]), 9))
    with pytest.raises(ValueError, match="one shape"):
        AverageDrop().update(torch.rand(3), torch.rand(2))


@pytest.mark.filterwarnings("ignore:The ``compute`` method")
def test_no_image_is_an_error():
    for metric in (MaxBoxAcc(), Top1Cls(), AverageDrop(), EvidencePrecision(), PxAP()):
        with pytest.raises(ValueError, match=r"no image|foreground"):
            metric.compute()


def test_probing_classes():
    regions = torch.zeros(2, 8, 8, dtype=torch.bool)
    regions[:, 2:4, 2:4] = True
    maps = torch.zeros(2, 8, 8)
    maps[0, 3, 3], maps[1, 7, 7], maps[1, 2, 2] = 1, 3, 1
    pointing, energy, evidence = PointingGame(tolerance=1), EnergyPointingGame(), EvidencePrecision()
    for metric in (pointing, energy, evidence):
        metric.update(maps, regions)
    assert float(pointing.compute()) == 50
    assert float(energy.compute()) == float(evidence.compute()) == 62.5
    images = torch.ones(2, 3, 8, 8)
    for kind in (Deletion, Insertion):
        metric = kind(lambda x, i: x.mean((1, 2, 3)), 4)
        metric.update(images, torch.zeros_like(images), maps)
        assert float(metric.compute()) == pytest.approx(50)


def test_removal_and_similarity_classes_are_the_leaderboards_scores():
    gen = torch.Generator().manual_seed(0)
    pixels, maps, others = (torch.rand(3, *shape, generator=gen) for shape in ((3, 32, 32), (32, 32), (32, 32)))
    target, ids = torch.tensor([0, 2, 1]), ("a", "b", "c")
    protocol = Protocol(name="small", road_percents=(20, 60), subset_count=5)

    def score(images, classes):
        return images[torch.arange(len(images)), classes].mean((1, 2))

    alike = MapBatch(
        *(ids, maps, maps, pixels, [], None, None, None, protocol),
        score=lambda images, index: score(images, target[index]),
    )
    seeds = id_seeds(ids, torch.device("cpu"))
    noise = normals(seeds, seeds.new_zeros(()), pixels[0].numel()).view_as(pixels) * protocol.road_noise
    keys = uniforms(seeds, seeds.new_ones(()), 3 * 5 * 4).view(3, 3, 5, 4)
    for name, metric, last in (
        ("road_morf", RoadMoRF(score, protocol.road_percents), noise),
        ("road_lerf", RoadLeRF(score, protocol.road_percents), noise),
        ("road", Road(score, protocol.road_percents), noise),
        ("sensitivity_n", SensitivityN(score, protocol.subset_percents, protocol.subset_cell), keys),
    ):
        expected = METRICS.get(name).per_image(alike).mean() * (1 if name == "sensitivity_n" else 100)
        for part in (slice(0, 1), slice(1, 3)):
            metric.update(pixels[part], maps[part], target[part], last[part])
        assert float(metric.compute()) == pytest.approx(float(expected), rel=1e-6), name
    for metric, function in ((MapSSIM(), structural_similarity), (MapRankCorrelation(), rank_correlation)):
        for part in (slice(0, 1), slice(1, 3)):
            metric.update(maps[part], others[part])
        assert float(metric.compute()) == pytest.approx(float(function(maps, others).mean()), rel=1e-12)
        assert not metric.higher_is_better


def test_registry_matches_the_classes():
    import cambench.metrics as room

    for name in METRICS.names():
        spec = METRICS.get(name)
        if spec.class_name:
            assert getattr(room, spec.class_name).higher_is_better == spec.higher_is_better, name
            assert spec.unit or spec.digits == 3, name
            assert spec.source
