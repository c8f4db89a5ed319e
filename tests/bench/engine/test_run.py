"""A run from data on disk to tables: exact numbers, aliases, forwards, lost images, refusals."""

import json
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from cambench.baselines.backbones.opening import open_backbone
from cambench.bench.host.errors import RunError, UsageError
from cambench.bench.notebook.runs import run
from cambench.metrics.functional.localisation import unpack_hits
from cambench.registry import UnknownNameError
from cambench.results.records.load import load_run
from cambench.results.records.record_errors import RunMismatchError
from cambench.results.statistics import known_standing
from cambench.results.statistics.standing import add_backbone
from cambench.results.tables.leaderboard import write_leaderboard

SCORES = ("scores.md", "scores.csv", "scores.tex")


def tables(out):
    return {name: (out / "tables" / name).read_bytes() for name in SCORES}


def tree(out):
    return {p.relative_to(out): p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}


def independent_scores(root, lines, weights_of, network):
    """(n,3): IoU >= .5 of the largest contour at τ = .2, Y and O; image by image, with OpenCV in float64."""
    rows = []
    for name, *box in lines:
        picture = Image.open(root / name).convert("RGB")
        pixels = np.asarray(picture.resize((224, 224), Image.Resampling.BILINEAR), dtype=np.float32) / 255
        image = network.normalise(torch.from_numpy(pixels.transpose(2, 0, 1))[None])
        features = network.features(image).detach().requires_grad_()
        logits = network.head("softmax")(features)
        target = logits.argmax().item()
        (gradient,) = torch.autograd.grad(logits[0, target], features)
        raw = (weights_of(gradient) * features).sum(1)[0].clamp_min(0).detach().double().numpy()

        up = cv2.resize(raw, (224, 224), interpolation=cv2.INTER_CUBIC)
        level = np.floor(255 * (up - up.min()) / (up.max() - up.min())).astype(np.uint8)
        found, _ = cv2.findContours((level > int(0.2 * 255)).astype(np.uint8), cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
        x, y, w, h = cv2.boundingRect(max(found, key=cv2.contourArea))
        guess = np.array([x, y, min(x + w, 223), min(y + h, 223)])
        truth = (np.array(box, dtype=float) * 224 / np.array([*picture.size] * 2)).astype(int)
        overlap = np.prod(np.maximum(np.minimum(guess[2:], truth[2:]) - np.maximum(guess[:2], truth[:2]) + 1, 0))
        union = sum(np.prod(b[2:] - b[:2] + 1) for b in (guess, truth)) - overlap

        mask = cv2.resize((raw - raw.min()) / np.ptp(raw), (224, 224), interpolation=cv2.INTER_LINEAR)
        masked = torch.from_numpy((pixels * mask[..., None]).astype(np.float32).transpose(2, 0, 1))[None]
        with torch.no_grad():
            score = network(network.normalise(masked)).double().softmax(1)[0, target].item()
        rows.append((overlap / union >= 0.5, logits.double().softmax(1)[0, target].item(), score))
    return np.array(rows)


@pytest.mark.parametrize(
    ("cam", "weights_of"),
    [("gradcam", lambda g: g.mean((2, 3), keepdim=True)), ("layercam", lambda g: g.clamp_min(0))],
)
def test_numbers_equal_an_independent_pipeline(settings, blobs, cam, weights_of):
    root, metadata = blobs
    triple = f"slim_vgg/{cam}/softmax"
    result = run(**{**settings, "triples": (triple,)})
    lines = [line.split(",") for line in (metadata / "test" / "localization.txt").read_text().split()]
    expected = independent_scores(root, lines, weights_of, open_backbone("slim_vgg").freeze())
    records = result.run
    threshold = records.manifest.hit_thresholds.index(0.5)
    hits = unpack_hits(torch.from_numpy(records.column(triple, "hits_single")))[:, threshold, 51]
    assert np.array_equal(hits.numpy().astype(bool), expected[:, 0].astype(bool))
    np.testing.assert_allclose(records.column(triple, "y"), expected[:, 1], rtol=1e-4)
    np.testing.assert_allclose(records.column(triple, "o"), expected[:, 2], rtol=1e-3)


def test_tables_appear_network_by_network(settings, capfd, monkeypatch):
    calls = []
    monkeypatch.setattr(known_standing, "add_backbone", lambda *a: (calls.append(a[2]), add_backbone(*a)))
    nets = ("slim_resnet", "slim_vgg_gap", "slim_inception")
    fields = {**settings, "triples": tuple(f"{net}/{{gradcam,center}}/softmax" for net in nets)}
    result = run(**fields)
    said = capfd.readouterr().err
    assert [said.count(title) for title in ("Slim ResNet", "Slim VGG (GAP)", "Slim Inception")] == [1, 1, 0]
    table = said[said.index("Slim VGG (GAP)") : said.index("making the tables")]
    scores = result.leaderboard().frame.set_index(["backbone", "cam"])
    assert all(f"{scores.loc[('slim_vgg_gap', cam), 'average_drop']:.2f}" in table for cam in ("gradcam", "center"))
    assert calls == list(nets), "the statistics of a network are made once, for its table and for the files"
    written = tables(settings["out"])
    write_leaderboard(settings["out"])
    assert tables(settings["out"]) == written


def test_equal_maps_are_scored_once_and_shown_everywhere(settings, monkeypatch):
    backbone = type(open_backbone("slim_resnet"))
    batches = []
    features = backbone.features
    monkeypatch.setattr(backbone, "features", lambda self, x: (batches.append(len(x)), features(self, x))[1])
    result = run(**settings)
    manifest = result.run.manifest
    assert manifest.canonical("slim_resnet/gradcam/softmax") == "slim_resnet/cam/softmax"
    assert "GAP" in manifest.identities["slim_resnet/gradcam/softmax"]
    distinct = {manifest.canonical(t) for t in manifest.triples}
    assert len(manifest.triples) == 5
    assert len(distinct) == 4
    assert sum(batches) == 10 * (1 + len(distinct)), "one plain and one masked forward per distinct map"
    assert "slim_resnet" in (settings["out"] / "tables" / "scores.csv").read_text()


def test_a_second_run_computes_nothing_and_changes_no_table(settings, monkeypatch):
    run(**settings)
    before = tables(settings["out"])
    backbone = type(open_backbone("slim_resnet"))
    monkeypatch.setattr(backbone, "features", lambda *_: pytest.fail("nothing is left to compute"))
    run(**settings)
    assert tables(settings["out"]) == before


def test_batching_aside_shards_change_no_score(settings, tmp_path):
    outs = [tmp_path / "a", tmp_path / "b"]
    for out, shard in zip(outs, (4, 8), strict=True):
        run(**{**settings, "out": out, "shard_size": shard})
    assert tables(outs[0]) == tables(outs[1])


def test_sigmoid_branch_is_trained_once_and_leaves_softmax_alone(settings):
    settings["triples"] = ("slim_resnet/gradcam/{softmax,sigmoid,sigmoid_signed}",)
    first = run(**settings).run
    branch = first.manifest.backbones["slim_resnet"].branches["sigmoid"]
    assert branch.provenance == "trained in this run"
    assert branch.training["recipe_digest"]
    assert (settings["out"] / "heads" / "slim_resnet.sigmoid.safetensors").is_file()
    assert first.manifest.backbones["slim_resnet"].branches["softmax"].provenance != "trained in this run"
    alone = run(**{**settings, "triples": ("slim_resnet/gradcam/softmax",), "out": settings["out"].with_name("b")}).run
    triple = "slim_resnet/gradcam/softmax"
    for column in ("y", "o", "predicted", "hits_multi"):
        assert np.array_equal(first.column(triple, column), alone.column(triple, column))


def test_triples_can_be_added_later(settings):
    run(**{**settings, "triples": ("slim_resnet/cam/softmax",)})
    result = run(**settings)
    assert len(result.run.manifest.triples) == 5
    assert result.run.manifest.finished


def test_lost_images_are_named_and_left_out_of_every_triple(settings, blobs):
    root, _ = blobs
    (root / "test" / "003.jpg").write_bytes((root / "test" / "003.jpg").read_bytes()[:300])
    (root / "test" / "007.jpg").write_bytes(b"")
    result = run(**settings)
    records = result.run
    assert [f.image_id for f in records.failures] == ["test/003.jpg", "test/007.jpg"]
    listed = json.loads((settings["out"] / "run.json").read_text())["failures"]
    assert [f["image_id"] for f in listed] == ["test/003.jpg", "test/007.jpg"]
    assert all(f["reason"] for f in listed)
    for triple in records.triples:
        assert len(records.column(triple, "y")) == 8
    assert (
        "test/003.jpg" in (settings["out"] / "tables" / "scores.md").read_text()
        or "2 image" in (settings["out"] / "tables" / "scores.md").read_text()
    )


def test_a_whole_shard_of_lost_images_does_not_stop_the_run(settings, blobs):
    root, _ = blobs
    for i in range(4, 8):
        (root / "test" / f"00{i}.jpg").write_bytes(b"not a picture")
    result = run(**settings)
    assert len(result.run.image_ids) == 6
    assert len(result.run.failures) == 4
    assert result.run.manifest.finished


def test_nothing_readable_is_an_error(settings, blobs):
    root, _ = blobs
    for file in (root / "test").iterdir():
        file.write_bytes(b"\xff\xd8")
    with pytest.raises(RunError, match="could be read"):
        run(**settings)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"protocol": "wsoleval"}, "protocol"), ({"limit": 5}, "fingerprint"), ({"batch_size": 2}, "batch_size")],
)
def test_a_folder_of_another_run_is_refused_and_untouched(settings, change, message):
    run(**settings)
    before = tree(settings["out"])
    with pytest.raises(RunMismatchError, match=message):
        run(**{**settings, **change})
    assert tree(settings["out"]) == before


def test_wrong_names_come_with_the_nearest(settings):
    with pytest.raises(UnknownNameError, match="did you mean 'gradcam'"):
        run(**{**settings, "triples": ("slim_vgg/gradcan/softmax",)})
    with pytest.raises(UnknownNameError, match="unknown data set 'synthbird'; did you mean 'synthbirds'"):
        run(**{**settings, "dataset": "synthbird"})
    with pytest.raises(UnknownNameError, match="did you mean 'wsoleval'"):
        run(**{**settings, "protocol": "wsol-eval"})
    with pytest.raises(UsageError, match="tripels"):
        run(**settings, tripels=())


def test_impossible_triples_are_said_before_the_run_starts(settings):
    with pytest.raises(UsageError, match=r"slim_vgg/cam/softmax: cam needs a GAP \+ linear head"):
        run(**{**settings, "triples": ("slim_vgg/cam/softmax",)})
    assert not settings["out"].exists()
    skipped = run(**{**settings, "triples": ("slim_vgg/{cam,gradcam}/s*",)}).run.manifest.skipped
    assert "slim_vgg/cam/softmax" in skipped


def test_memory_of_a_run_does_not_hold_the_records(settings):
    result = run(**settings).run
    starts = [m.rows_of(s).start for m in [result.manifest] for s in range(m.shards)]
    assert all(b - a == 4 for a, b in pairwise(starts))
    assert load_run(settings["out"]).index.tolist() == list(range(10))


def test_what_a_network_cannot_do_is_said_before_the_run(settings, capsys):
    pytest.importorskip("captum")
    run(**{**settings, "triples": ("slim_resnet/{center,deeplift}/softmax",)})
    told = capsys.readouterr().err
    assert "slim_resnet: left out deeplift under softmax: DeepLIFT has a rule" in told
    assert "nearest: ig" in told
