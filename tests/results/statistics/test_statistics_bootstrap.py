"""Resampled scores against a plain recomputation of every resample, and against the scores of the table."""

from dataclasses import replace

import numpy as np
import pytest

from cambench.protocol import PROTOCOLS
from cambench.results.records.load import load_run
from cambench.results.records.record_errors import RecordError
from cambench.results.records.store import RunStore
from cambench.results.scores.shown import score_run
from cambench.results.statistics import resample
from cambench.results.statistics.bootstrap import Entry, bootstrap, bootstrap_run
from cambench.results.statistics.intervals import bootstrap_interval
from cambench.results.statistics.resample import BLOCK, ResamplePlan

ROWS, SHARD = 60, 17
TAUS = {"arange1000": np.arange(0, 1, 0.001), "linspace1001": np.arange(1001) / 1000}


def packed_hits(rng, count, thresholds):
    """Hits that come and go along the levels, fewer at higher IoU thresholds."""
    start = rng.integers(0, 200, (count, 1, 1))
    width = np.sort(rng.integers(1, 160, (count, thresholds, 1)), axis=1)[:, ::-1]
    levels = np.arange(256)
    hits = (levels >= start) & (levels < start + width) & (rng.random((count, thresholds, 256)) > 0.1)
    return np.packbits(hits, axis=-1)


def box_records(toy, triple, indices, empty_maps=True, salt=0):
    rng = np.random.default_rng([salt, *triple.encode(), len(indices), *indices])
    columns = toy.rows(triple, indices)
    for name in ("hits_multi", "hits_single", "hits_single_first"):
        columns[name] = packed_hits(rng, len(indices), columns[name].shape[1])
    columns["n_boxes"] = rng.choice([0, 1, 2], len(indices), p=[0.2, 0.6, 0.2])
    if empty_maps:
        columns["peak"] = rng.choice([0, 254, 255], len(indices))
        columns["degenerate"] = (columns["peak"] == 0).astype(int)
    return columns


def box_run(toy, out, **changes):
    manifest = toy.manifest(rows=ROWS, shard_size=SHARD, **changes)
    with RunStore.open(out, manifest) as store:
        for shard in range(store.manifest.shards):
            rows = {t: box_records(toy, t, list(manifest.rows_of(shard))) for t in toy.canonical(manifest)}
            store.write_shard("net", shard, rows)
        store.finish()
    return load_run(out)


@pytest.fixture(scope="module")
def runs(toy, tmp_path_factory):
    """Protocol name -> run of random records."""
    folder = tmp_path_factory.mktemp("runs")
    names = ("paper", "wsoleval", "beyond-softmax-code")
    return {n: box_run(toy, folder / n, protocol=PROTOCOLS.get(n)) for n in names}


def plain_scores(run, triple, drawn):
    """Scores of the images ``drawn`` (with repeats), one image and threshold at a time."""
    protocol, data = run.manifest.protocol, {n: run.column(triple, n)[drawn] for n in run.columns(triple)}
    thresholds = run.manifest.hit_thresholds
    boxed = data["n_boxes"] > 0
    taus = TAUS[protocol.tau_grid]

    def curve(name, delta, chosen):
        bits = np.unpackbits(data[name][:, thresholds.index(delta)], axis=-1)
        return np.array(
            [
                sum(bits[i, int(tau * data["peak"][i])] for i in np.flatnonzero(chosen)) / boxed.sum() * 100
                for tau in taus
            ]
        )

    right = data["predicted"] == data["label"]
    rule = "hits_single" if protocol.gt_boxes == "any" else "hits_single_first"
    located, top1 = curve(rule, 0.5, boxed), curve(rule, 0.5, boxed & right)
    at = located.argmax() if protocol.loc_threshold == "oracle" else int(np.abs(taus - protocol.loc_tau).argmin())
    background, objects = data["pixel_histogram"].sum(0).astype(float)
    fp, tp = background[::-1].cumsum(), objects[::-1].cumsum()
    area = sum((tp[i] - tp[i - 1]) / tp[-1] * tp[i] / (tp[i] + fp[i]) for i in range(1, len(tp)) if tp[i] + fp[i])
    y, o = data["y"], data["o"]
    return {
        "top1_cls": 100 * right.mean(),
        "gt_known_loc": located[at],
        "top1_loc": top1[at],
        "max_box_acc": curve("hits_single", 0.5, boxed).max(),
        "max_box_acc_v2": np.mean([curve("hits_multi", d, boxed).max() for d in protocol.iou_thresholds]),
        "pxap": 100 * area,
        "average_drop": 100 * np.mean(np.maximum(y - o, 0) / y),
        "increase_in_confidence": 100 * np.mean(o > y),
        "average_gain": 100 * np.mean(np.maximum(o - y, 0) / (1 - y)),
        "evidence_precision": 100 * data["evidence_precision"].mean(),
        "degenerate": 100 * np.mean(data["degenerate"] != 0),
        "sparsity": data["extra:sparsity"].mean(),
    }


@pytest.mark.parametrize("protocol", ["paper", "wsoleval", "beyond-softmax-code"])
def test_each_resample_has_the_scores_of_its_images(runs, protocol):
    run, triple = runs[protocol], "net/gradcam/sigmoid"
    boot = bootstrap_run(run, [triple], resamples=4, seed=3)
    weights = boot.plan.weights(0)
    assert (weights.sum(0) == ROWS).all()
    for number in range(4):
        expected = plain_scores(run, triple, np.repeat(np.arange(ROWS), weights[:, number]))
        found = {name: values[number] for name, values in boot.samples[triple].items()}
        assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("protocol", ["paper", "wsoleval", "beyond-softmax-code"])
def test_points_are_the_scores_of_the_table(runs, protocol):
    run = runs[protocol]
    boot, table = bootstrap_run(run, resamples=2), score_run(run)
    for triple in run.triples:
        assert boot.points[triple] == pytest.approx(table.scores[triple], rel=1e-12)
    assert [m.name for m in boot.metrics] == [m.name for m in table.metrics]


def test_threshold_on_val_stays_fixed_in_resamples(toy, tmp_path):
    protocol = PROTOCOLS.get("paper").model_copy(update={"loc_threshold": "val"})
    split = toy.manifest().dataset.model_copy(update={"split": "val", "rows": ROWS})
    test = box_run(toy, tmp_path / "test", protocol=protocol)
    val = box_run(toy, tmp_path / "val", protocol=protocol, dataset=split)
    triple = "net/cam/softmax"
    boot = bootstrap_run(test, [triple], val=val, resamples=3)
    assert boot.points[triple] == pytest.approx(score_run(test, val, [triple]).scores[triple])
    # The records are the same here, so the best threshold on val is the best on test.
    boxed = test.column(triple, "n_boxes") > 0
    located = boot.records[triple].column("located").sum()
    assert 100 * located / boxed.sum() == pytest.approx(boot.points[triple]["max_box_acc"])
    assert boot.points[triple]["gt_known_loc"] == pytest.approx(boot.points[triple]["max_box_acc"])
    with pytest.raises(RecordError, match="give the val run"):
        bootstrap_run(test, [triple], resamples=3)


def test_the_same_seed_gives_the_same_samples_however_the_work_is_cut(runs, monkeypatch):
    run, triples = runs["paper"], ["net/cam/softmax", "net/gradcam/sigmoid"]
    one = bootstrap_run(run, triples, resamples=BLOCK + 9, seed=1, threads=1)
    monkeypatch.setattr("cambench.results.statistics.resample.WEIGHT_BYTES", 1)
    monkeypatch.setattr("cambench.results.statistics.resample.CHUNK", 7)
    more = bootstrap_run(run, triples[1:], resamples=2 * BLOCK, seed=1, threads=3)
    for metric, values in one.samples[triples[1]].items():
        # Sums of fractions depend on the order of addition in their last bits; counts do not.
        np.testing.assert_allclose(more.samples[triples[1]][metric][: len(values)], values, rtol=1e-12)
        if metric in ("max_box_acc", "gt_known_loc", "pxap"):
            np.testing.assert_array_equal(more.samples[triples[1]][metric][: len(values)], values)
    other = bootstrap_run(run, triples[1:], resamples=BLOCK, seed=2)
    assert not np.array_equal(other.samples[triples[1]]["pxap"], one.samples[triples[1]]["pxap"][:BLOCK])


def test_an_alias_has_the_samples_of_its_records(runs):
    run = runs["paper"]
    boot = bootstrap_run(run, resamples=20)
    alias = "net/gradcam/softmax"
    np.testing.assert_array_equal(boot.samples[alias]["pxap"], boot.samples["net/cam/softmax"]["pxap"])


def test_draws_are_uniform_with_replacement():
    weights = ResamplePlan(images=400, count=BLOCK, seed=5).weights(0).astype(float)
    # An image is drawn Binomial(400, 1/400) times: mean 1, variance 399/400, absent with probability (399/400)^400.
    assert weights.mean() == 1
    assert weights.var() == pytest.approx(399 / 400, rel=0.03)
    assert (weights == 0).mean() == pytest.approx((399 / 400) ** 400, abs=0.01)


def test_interval_of_a_mean_is_scipys_bootstrap_interval(runs):
    from scipy.stats import bootstrap as scipy_bootstrap

    run, triple = runs["paper"], "net/random/softmax"
    values = 100 * run.column(triple, "evidence_precision")
    ours = bootstrap_run(run, [triple], resamples=4000).interval(triple, "evidence_precision")
    theirs = scipy_bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    spread = values.std() / np.sqrt(ROWS)
    assert ours.low == pytest.approx(theirs.low, abs=0.15 * spread)
    assert ours.high == pytest.approx(theirs.high, abs=0.15 * spread)


def test_interval_holds_both_sides_of_a_known_bias():
    samples = np.random.default_rng(0).normal(0.5, 1, 200_000)
    # Samples centred half a deviation above the point: percentiles −1.46 … 2.46, bias-corrected −2.46 … 1.46, and twice
    # the bias below the point −2.96.
    interval = bootstrap_interval(samples, 0.0)
    assert (interval.low, interval.high) == pytest.approx((-2.96, 2.46), abs=0.05)
    centred = bootstrap_interval(samples, 0.5)
    np.testing.assert_allclose((centred.low, centred.high), np.quantile(samples, [0.025, 0.975]), atol=0.02)
    assert {type(end) for end in (interval.low, interval.high)} == {float}, "no NumPy scalar leaves"
    constant = bootstrap_interval(np.full(50, 7.0), 7.0)
    assert (constant.low, constant.high) == (7, 7)


def test_an_interval_of_a_share_ends_at_0_and_100_percent(runs):
    run, triple = runs["paper"], "net/random/softmax"
    boot = bootstrap_run(run, [triple], resamples=50)
    noise = np.random.default_rng(0).normal(2, 1, 50)
    drawn = {"pxap": noise, "average_drop": 98 + noise, "foreign": noise}
    boot = replace(boot, samples={triple: drawn}, points={triple: {"pxap": 1.0, "average_drop": 99.0, "foreign": 1.0}})
    assert boot.interval(triple, "foreign").low < 0, "the bias reaches below; what is not ours may be anything"
    assert boot.interval(triple, "pxap").low == 0
    assert boot.interval(triple, "average_drop").high == 100
    assert boot.interval(triple, "average_drop").low > 90


def test_resamples_without_a_box_are_left_out_of_box_intervals(toy, tmp_path):
    manifest = toy.manifest(rows=5, shard_size=5)
    with RunStore.open(tmp_path / "run", manifest) as store:
        rows = {t: toy.rows(t, range(5), n_boxes=np.array([1, 0, 0, 0, 0])) for t in toy.canonical(manifest)}
        store.write_shard("net", 0, rows)
        store.finish()
    boot = bootstrap_run(load_run(tmp_path / "run"), ["net/cam/softmax"], resamples=200)
    samples = boot.samples["net/cam/softmax"]["max_box_acc"]
    # (4/5)^5 of the resamples hold no image with a box.
    assert np.isnan(samples).mean() == pytest.approx(0.8**5, abs=0.1)
    interval = boot.interval("net/cam/softmax", "max_box_acc")
    assert np.isfinite([interval.low, interval.high]).all()


def test_wrong_requests_are_named(runs, toy, tmp_path):
    run = runs["paper"]
    with pytest.raises(ValueError, match="different names"):
        bootstrap([Entry("a", run, "net/cam/softmax")] * 2)
    with pytest.raises(ValueError, match="at least 2"):
        bootstrap_run(run, ["net/cam/softmax"], resamples=1)
    with pytest.raises(ValueError, match="between 0 and 1"):
        bootstrap_interval(np.zeros(3), 0.0, 95)
    small = load_run(toy.fill(tmp_path / "small", toy.manifest()))
    with pytest.raises(RecordError, match="not over the same images"):
        bootstrap([Entry("a", run, "net/cam/softmax"), Entry("b", small, "net/cam/softmax")])


def test_pxap_of_many_images_is_the_first_order_expansion(toy, tmp_path, monkeypatch):
    """The expansion moves like the exact resamples, up to a remainder that shrinks with the number of images."""
    rows = 600
    manifest = toy.manifest(rows=rows, shard_size=rows, triples=["net/cam/softmax"], aliases={}, identities={})
    rng = np.random.default_rng(5)
    # Images of different size and quality: the pooled score is no mean of the images' own.
    peaks = rng.uniform(0.3, 0.9, rows)
    levels = np.arange(1002) / 1002
    objects = np.exp(-(((levels - peaks[:, None]) / 0.15) ** 2)) * rng.uniform(5, 60, (rows, 1))
    others = np.exp(-(((levels - 0.2) / 0.2) ** 2)) * rng.uniform(20, 200, (rows, 1))
    histogram = np.stack([rng.poisson(others), rng.poisson(objects)], axis=1)
    with RunStore.open(tmp_path / "run", manifest) as store:
        columns = toy.rows("net/cam/softmax", range(rows), pixel_histogram=histogram)
        store.write_shard("net", 0, {"net/cam/softmax": columns})
        store.finish()
    run = load_run(tmp_path / "run")
    exact = bootstrap_run(run, resamples=400)
    monkeypatch.setattr(resample, "EXACT_IMAGES", rows - 1)
    expanded = bootstrap_run(run, resamples=400)
    a, b = (boot.samples["net/cam/softmax"]["pxap"] for boot in (exact, expanded))
    assert exact.points == expanded.points
    assert not np.array_equal(a, b)
    assert (a - b).std() < 0.05 * a.std()
    low, high = exact.interval("net/cam/softmax", "pxap"), expanded.interval("net/cam/softmax", "pxap")
    assert (low.low, low.high) == pytest.approx((high.low, high.high), abs=0.1 * (low.high - low.low))
