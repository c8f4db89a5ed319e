"""Paired tests against SciPy and statsmodels, by hand, and by simulation under the null hypothesis."""

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_rel

from cambench.results.records.load import load_run
from cambench.results.records.store import RunStore
from cambench.results.statistics.bootstrap import bootstrap_run
from cambench.results.statistics.comparison import compare_triples
from cambench.results.statistics.intervals import few_images
from cambench.results.statistics.paired import differences, holm, mcnemar, paired_bootstrap_p
from cambench.results.statistics.ranks import ranks
from cambench.results.tables.compare_table import compare_document
from cambench.results.tables.leaderboard import write_leaderboard

DISCORDANT = [(0, 0), (1, 0), (3, 3), (2, 9), (40, 61), (0, 30), (500, 431)]


@pytest.mark.parametrize(("b", "c"), DISCORDANT)
def test_mcnemar_is_the_binomial_test_of_discordant_images(b, c):
    expected = binomtest(b, b + c, 0.5).pvalue if b + c else 1.0
    assert mcnemar(b, c) == pytest.approx(expected)


@pytest.mark.parametrize(("b", "c"), DISCORDANT)
def test_mcnemar_is_statsmodels(b, c):
    tables = pytest.importorskip("statsmodels.stats.contingency_tables")
    if b + c:
        assert mcnemar(b, c) == pytest.approx(tables.mcnemar([[7, b], [c, 9]], exact=True).pvalue)


def test_mid_p_by_hand():
    # 1 of 5: P(X <= 1) = 6/32, P(X = 1) = 5/32.
    assert mcnemar(1, 4) == pytest.approx(12 / 32)
    assert mcnemar(1, 4, mid_p=True) == pytest.approx(7 / 32)
    assert mcnemar(2, 2, mid_p=True) == 1
    with pytest.raises(ValueError, match="expected counts"):
        mcnemar(-1, 2)


def test_holm_by_hand_and_statsmodels():
    p = [0.01, 0.04, 0.03, 0.005, 0.9]
    np.testing.assert_allclose(holm(p), [0.04, 0.09, 0.09, 0.025, 0.9])
    assert holm([]).size == 0
    np.testing.assert_allclose(holm([0.5, 0.6]), [1, 1])
    multi = pytest.importorskip("statsmodels.stats.multitest")
    random = np.random.default_rng(0).random(40) ** 3
    np.testing.assert_allclose(holm(random), multi.multipletests(random, method="holm")[1])


def test_paired_bootstrap_follows_the_t_test_of_means():
    rng = np.random.default_rng(1)
    for shift in (0.0, 0.1, 0.2, 0.45):
        a, b = rng.normal(size=(2, 400))
        b += shift
        delta = b - a
        draws = rng.integers(0, 400, (6000, 400))
        p = paired_bootstrap_p(delta[draws].mean(1), delta.mean())
        exact = ttest_rel(b, a).pvalue
        if exact > 0.01:
            assert p == pytest.approx(exact, abs=0.025)
        else:
            # In the normal tail: the same order of magnitude, below what 6,000 resamples can count.
            assert np.log10(p) == pytest.approx(np.log10(exact), abs=0.15 * abs(np.log10(exact)) + 0.3)


def test_paired_bootstrap_without_any_difference():
    assert paired_bootstrap_p(np.zeros(100), 0.0) == 1
    # The same gap in every image: no resample lies beyond; the count bounds the p-value.
    assert paired_bootstrap_p(np.full(99, 0.3), 0.3) == pytest.approx(1 / 100)


def test_paired_bootstrap_rejects_a_true_null_at_its_level():
    rng = np.random.default_rng(2)
    rejected = 0
    for _ in range(400):
        delta = rng.exponential(size=120) - 1
        rejected += paired_bootstrap_p(delta[rng.integers(0, 120, (400, 120))].mean(1), delta.mean()) < 0.05
    # Binomial(400, 0.05): 20 expected, standard deviation 4.4.
    assert 8 <= rejected <= 35


@pytest.fixture(scope="module")
def pair(toy, tmp_path_factory):
    """A run of 200 images in which ``gradcam`` has a higher drop and other hits than ``cam``."""
    out = tmp_path_factory.mktemp("pair") / "run"
    manifest = toy.manifest(rows=200, shard_size=64, triples=["net/cam/softmax", "net/gradcam/softmax"], aliases={})
    rng = np.random.default_rng(3)
    first, second = rng.random(200) < 0.5, rng.random(200) < 0.6
    with RunStore.open(out, manifest) as store:
        for shard in range(store.manifest.shards):
            span = list(manifest.rows_of(shard))
            hits = {
                t: np.repeat(h[span, None, None] * np.uint8(255), 3, 1).repeat(32, 2)
                for t, h in zip(manifest.triples, (first, second), strict=True)
            }
            rows = {
                t: toy.rows(t, span, hits_single=hits[t], o=rng.uniform(0.05, high, len(span)))
                for t, high in zip(manifest.triples, (0.9, 0.6), strict=True)
            }
            store.write_shard("net", shard, rows)
        store.finish()
    return load_run(out), first, second


def test_differences_of_a_pair(pair):
    run, first, second = pair
    found = {d.metric.name: d for d in differences(bootstrap_run(run, resamples=2000))}
    # One backbone: the classification accuracy is no difference; degenerate maps are a fact, not a score.
    assert "top1_cls" not in found
    assert "degenerate" not in found
    loc = found["gt_known_loc"]
    assert (loc.a, loc.b) == (100 * first.mean(), 100 * second.mean())
    assert loc.test == "McNemar"
    only = (int((first & ~second).sum()), int((second & ~first).sum()))
    assert loc.discordant == only
    assert loc.p == pytest.approx(binomtest(only[0], sum(only)).pvalue)
    assert loc.effect == pytest.approx(only[1] / sum(only) - 0.5)
    y, o = ([run.column(t, name) for t in run.triples] for name in ("y", "o"))
    drop = [np.maximum(a - b, 0) / a for a, b in zip(y, o, strict=True)]
    delta = drop[1] - drop[0]
    found_drop = found["average_drop"]
    assert found_drop.value == pytest.approx(100 * delta.mean())
    assert found_drop.effect == pytest.approx(delta.mean() / delta.std(), rel=0.06)
    half = 1.96 * 100 * delta.std() / np.sqrt(200)
    assert (found_drop.interval.low, found_drop.interval.high) == pytest.approx(
        (found_drop.value - half, found_drop.value + half), abs=0.15 * half
    )
    assert found_drop.p < 1e-4
    assert found_drop.verdict() == "worse"


def test_holm_runs_over_the_table(pair):
    found = differences(bootstrap_run(pair[0], resamples=500))
    np.testing.assert_allclose([d.p_holm for d in found], holm([d.p for d in found]))
    assert all(d.p_holm >= d.p for d in found)


def test_oracle_protocol_tests_the_chosen_threshold_by_bootstrap(toy, tmp_path):
    from cambench.protocol import WSOLEVAL

    run = load_run(toy.fill(tmp_path / "run", toy.manifest(rows=40, protocol=WSOLEVAL)))
    found = differences(bootstrap_run(run, resamples=100), [("net/cam/softmax", "net/cam/sigmoid")])
    assert {d.metric.name: d.test for d in found}["gt_known_loc"] == "paired bootstrap"


def test_a_triple_against_its_alias_is_identical(toy, tmp_path):
    run = load_run(toy.fill(tmp_path / "run", toy.manifest(rows=30)))
    found = differences(bootstrap_run(run, resamples=50), [("net/cam/softmax", "net/gradcam/softmax")])
    assert found
    assert all(d.identical and d.p == 1 and d.p_holm == 1 and d.verdict() == "" and d.value == 0 for d in found)


def test_ranks_share_where_nothing_is_significant(toy, tmp_path):
    """Three triples locate 30, 32 and 90 of 100 images: the first two share rank 2."""
    located = {"net/cam/softmax": 30, "net/cam/sigmoid": 32, "net/gradcam/sigmoid": 90}
    manifest = toy.manifest(rows=100, shard_size=100, triples=list(located), aliases={})
    with RunStore.open(tmp_path / "run", manifest) as store:
        rows = {}
        for triple, count in located.items():
            hits = np.where(np.arange(100) < count, 255, 0).astype(np.uint8)[:, None, None] + np.zeros(
                (3, 32), np.uint8
            )
            rows[triple] = toy.rows(triple, range(100), hits_single=hits)
        store.write_shard("net", 0, rows)
        store.finish()
    boot = bootstrap_run(load_run(tmp_path / "run"), resamples=100)
    assert list(ranks(boot, "gt_known_loc").values()) == [2, 2, 1]
    assert list(ranks(boot, "gt_known_loc", list(located)[:2]).values()) == [1, 1]
    with pytest.raises(KeyError, match="no ranked metric 'degenerate'"):
        ranks(boot, "degenerate")


@pytest.mark.parametrize("images", [1, 3, 8])
def test_a_few_images_prove_no_more_than_a_sign_flip_test_could(toy, tmp_path, images):
    """Every image says the same: resamples of them hardly vary, yet n images give no p-value below 2^(1-n)."""
    run = load_run(toy.fill(tmp_path / "run", toy.manifest(rows=images)))
    boot = bootstrap_run(run, resamples=4000)
    found = differences(boot, [("net/cam/softmax", "net/cam/sigmoid")])
    tested = [d for d in found if d.test == "paired bootstrap"]
    assert len(tested) > 3
    assert min(d.p for d in tested) >= 2.0 ** (1 - images)
    if images == 1:
        assert {d.p for d in found} == {1.0}
        assert {d.verdict() for d in found} == {""}


def test_few_images_are_said(toy, tmp_path):
    run = load_run(toy.fill(tmp_path / "run", toy.manifest()))
    notes = compare_document(compare_triples(run, "net/cam/softmax", "net/cam/sigmoid")).notes
    said = "11 images only: bootstrap intervals of fewer than 20 are too narrow."
    assert said in notes
    write_leaderboard(run, tmp_path / "tables", resamples=20)
    assert said in (tmp_path / "tables" / "intervals.md").read_text(encoding="utf-8")
    assert few_images(20) == []
