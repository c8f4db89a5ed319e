import numpy as np
import pytest

from cambench.protocol import PAPER, PROTOCOLS
from cambench.results.records.load import load_run
from cambench.results.records.parts import part_path
from cambench.results.records.record_errors import RecordError
from cambench.results.records.store import RunStore
from cambench.results.scores.per_image import read_per_image
from cambench.results.scores.shown import score_run

TRIPLE = "net/cam/softmax"


def bits(*reach):
    """Hit bits (3,32): row t hits at levels 0 … reach[t]-1."""
    return np.packbits(np.arange(256)[None] < np.array(reach)[:, None], axis=-1)


def four_images(toy):
    histogram = np.zeros((4, 2, toy.bins), np.int64)
    histogram[0, 1, [900, 100]] = 3, 1
    histogram[1, 0, [500, 0]] = 2, 6
    multi = [bits(256, 256, 40), bits(100, 60, 0), bits(200, 0, 0), bits(1, 0, 0)]
    single = [bits(256, 60, 40), bits(100, 51, 0), bits(200, 52, 0), bits(1, 1, 0)]
    return {
        "image_id": np.array(["a", "b", "c", "d"], dtype=object),
        "index": np.arange(4),
        "label": np.array([0, 1, 2, 3]),
        "predicted": np.array([0, 1, 0, 0]),
        "target": np.array([0, 1, 0, 0]),
        "degenerate": np.array([0, 0, 0, 1], np.uint8),
        "peak": np.array([255, 255, 255, 0], np.uint8),
        "hits_multi": np.stack(multi),
        "hits_single": np.stack(single),
        "hits_single_first": np.stack([bits(0, 0, 0)] * 3 + [single[3]]),
        "pixel_histogram": histogram,
        "y": np.array([0.8, 0.5, 0.4, 0.5]),
        "o": np.array([0.4, 0.75, 0.4, 0.25]),
        "evidence_precision": np.array([1.0, 0.5, 0.25, 0.0]),
    }


def scored(tmp_path, toy, columns, **changes):
    manifest = toy.manifest(rows=4, triples=[TRIPLE], aliases={}, identities={}, **changes)
    with RunStore.open(tmp_path / "run", manifest) as store:
        store.write_shard("net", 0, {TRIPLE: columns})
    return score_run(load_run(tmp_path / "run"))


def test_by_hand(tmp_path, toy):
    table = scored(tmp_path, toy, four_images(toy))
    # IoU >= .5 at tau .2 (level 51; level 0 for the empty map): images a (60 levels), c (52), d (1), not b (51).
    # Level 0 … 50 hits a, b, c, d: MaxBoxAcc is all of them.
    # V2: .3: all four at level 0; .5 multi: a, b; .7: a.
    # PxAP, thresholds descending: bin 900: tp 3 fp 0; 500: tp 3 fp 2; 100: tp 4 fp 2; 0: tp 4 fp 8.
    assert table.scores[TRIPLE] == pytest.approx(
        {
            "top1_cls": 50.0,
            "top1_loc": 25.0,
            "gt_known_loc": 75.0,
            "max_box_acc": 100.0,
            "max_box_acc_v2": 100 * (4 + 2 + 1) / 12,
            "pxap": 100 * (3 / 3 * 3 / 4 + 4 / 6 * 1 / 4),
            "average_drop": 100 * (0.5 + 0 + 0 + 0.5) / 4,
            "increase_in_confidence": 25.0,
            "average_gain": 100 * 0.5 / 4,
            "evidence_precision": 100 * 1.75 / 4,
            "degenerate": 25.0,
        }
    )
    assert table.images == 4


def test_protocol_fields_change_the_scores(tmp_path, toy):
    columns = four_images(toy)
    first = scored(tmp_path / "first", toy, columns, protocol=PAPER.model_copy(update={"gt_boxes": "first"}))
    assert first.scores[TRIPLE]["gt_known_loc"] == 25.0
    assert first.scores[TRIPLE]["max_box_acc"] == 100.0
    oracle = scored(tmp_path / "oracle", toy, columns, protocol=PROTOCOLS.get("wsoleval"))
    assert oracle.scores[TRIPLE]["gt_known_loc"] == 100.0
    assert oracle.scores[TRIPLE]["top1_loc"] == 50.0
    logits = scored(tmp_path / "logit", toy, columns, protocol=PROTOCOLS.get("torchcam"))
    assert "average_gain" not in logits.scores[TRIPLE]
    strict = scored(tmp_path / "tau", toy, columns, protocol=PAPER.model_copy(update={"loc_tau": 0.5}))
    assert strict.scores[TRIPLE]["gt_known_loc"] == 25.0


def test_threshold_from_val(tmp_path, toy):
    protocol = PAPER.model_copy(update={"loc_threshold": "val"})
    columns = four_images(toy)
    with pytest.raises(RecordError, match="val run"):
        scored(tmp_path / "test", toy, columns, protocol=protocol)
    # On this val split every image hits from level 55 on and none below: tau is the first with level 55.
    late = np.packbits(np.broadcast_to(np.arange(256) >= 55, (4, 3, 256)), axis=-1)
    manifest = toy.manifest(rows=4, triples=[TRIPLE], aliases={}, identities={}, protocol=protocol)
    with RunStore.open(tmp_path / "val", manifest) as store:
        store.write_shard("net", 0, {TRIPLE: {**columns, "hits_single": late, "peak": np.full(4, 255, np.uint8)}})
    table = score_run(load_run(tmp_path / "test" / "run"), val=load_run(tmp_path / "val"))
    assert table.scores[TRIPLE]["gt_known_loc"] == 50.0


def test_images_without_boxes_are_no_misses(tmp_path, toy):
    columns = {**four_images(toy), "n_boxes": np.array([1, 0, 2, 1])}
    assert scored(tmp_path, toy, columns).scores[TRIPLE]["gt_known_loc"] == 100.0


def test_scores_that_are_not_finite_are_errors(tmp_path, toy):
    with pytest.raises(RecordError, match="NaN|finite"):
        scored(tmp_path, toy, {**four_images(toy), "o": np.array([0.4, np.nan, 0.1, 0.1])})


def test_a_class_score_of_zero_leaves_average_drop_out_and_nothing_else(tmp_path, toy):
    whole, without = (
        scored(tmp_path / str(y), toy, {**four_images(toy), "y": np.array([0.8, y, 0.4, 0.5])}) for y in (0.1, 0.0)
    )
    lost = set(whole.scores[TRIPLE]) - set(without.scores[TRIPLE])
    assert lost == {"average_drop"}
    assert "average_drop" not in {m.name for m in without.metrics}
    point = read_per_image(load_run(tmp_path / "0.0" / "run"), TRIPLE).point()
    assert "increase_in_confidence" in point
    assert "average_drop" not in point
    assert point == pytest.approx({name: without.scores[TRIPLE][name] for name in point})


def test_extra_metric(tmp_path, toy):
    from cambench.results.records.described import MetricRecord

    columns = {**four_images(toy), "extra:deletion": np.array([0.1, 0.2, 0.3, 0.4])}
    about = MetricRecord(title="Deletion", higher_is_better=False, unit="%")
    table = scored(tmp_path, toy, columns, metrics={"deletion": about})
    assert table.scores[TRIPLE]["deletion"] == pytest.approx(25.0)
    assert table.metrics[-1].arrow == "↓"


def test_cut_into_shards_does_not_change_a_bit(tmp_path, toy):
    runs = [load_run(toy.fill(tmp_path / str(n), toy.manifest(shard_size=n))) for n in (2, 5, 11)]
    tables = [score_run(run).scores for run in runs]
    assert tables[0] == tables[1] == tables[2]


def test_failed_image_is_left_out_of_every_triple(tmp_path, toy):
    run = load_run(toy.fill(tmp_path / "run", toy.manifest(), failed=(5,)))
    assert [f.index for f in run.failures] == [5]
    assert run.manifest.failures == run.failures
    assert 5 not in run.index
    for triple in run.triples:
        y = np.delete(toy.rows(run.manifest.canonical(triple), range(11))["y"], 5)
        assert np.array_equal(run.column(triple, "y"), y)


def test_shard_whose_images_all_failed(tmp_path, toy):
    run = load_run(toy.fill(tmp_path / "run", toy.manifest(), failed=(4, 5, 6, 7)))
    assert run.manifest.finished
    assert run.problems == []
    assert list(run.index) == [0, 1, 2, 3, 8, 9, 10]
    with RunStore.open(tmp_path / "run", toy.manifest()) as store:
        assert store.shard_done("net", 1, run.triples)
        with pytest.raises(RecordError, match="neither"):
            store.write_shard("net", 1, {})


@pytest.mark.parametrize("damage", ["truncate", "delete", "swap"])
def test_damaged_part_is_named_and_its_images_excluded_alike(tmp_path, toy, damage):
    out = toy.fill(tmp_path / "run", toy.manifest())
    part = part_path(out, "net/cam/sigmoid", 1)
    if damage == "truncate":
        part.write_bytes(part.read_bytes()[:-100])
    elif damage == "delete":
        part.unlink()
    else:
        size = part.stat().st_size
        part.write_bytes(part_path(out, "net/cam/softmax", 1).read_bytes()[:size].ljust(size, b"\0"))
    run = load_run(out)
    assert len(run.problems) == 1
    assert "part-00001.parquet" in run.problems[0]
    assert "images 4 to 7" in run.problems[0]
    assert list(run.index) == [0, 1, 2, 3, 8, 9, 10]
    assert all(len(run.column(t, "y")) == 7 for t in run.triples)
    assert score_run(run).images == 7
    # Running again redoes what is damaged.
    again = load_run(toy.fill(out, toy.manifest()))
    assert again.problems == []
    assert len(again.index) == 11


def test_any_flipped_byte_is_a_named_problem(tmp_path, toy):
    out = toy.fill(tmp_path / "run", toy.manifest(rows=4, shard_size=2))
    part = part_path(out, TRIPLE, 1)
    content = part.read_bytes()
    for position in range(3, len(content), len(content) // 60):
        damaged = bytearray(content)
        damaged[position] ^= 0x10
        part.write_bytes(damaged)
        run = load_run(out)
        assert len(run.problems) == 1
        assert "part-00001.parquet: its content has changed" in run.problems[0]
        assert list(run.index) == [0, 1]


def test_part_damaged_after_loading_is_an_error_not_a_number(tmp_path, toy):
    run = load_run(toy.fill(tmp_path / "run", toy.manifest()))
    part = part_path(run.out, TRIPLE, 0)
    content = bytearray(part.read_bytes())
    content[len(content) // 3] ^= 0xFF
    part.write_bytes(content)
    with pytest.raises(RecordError, match=r"part-00000\.parquet: damaged"):
        score_run(run)


def test_triple_without_records_is_pending(tmp_path, toy):
    manifest = toy.manifest()
    with RunStore.open(tmp_path / "run", manifest) as store:
        for shard in range(3):
            rows = toy.rows(TRIPLE, store.manifest.rows_of(shard))
            store.write_shard("net", shard, {TRIPLE: rows})
    run = load_run(tmp_path / "run")
    assert run.triples == [TRIPLE, "net/gradcam/softmax"]
    assert run.pending == ["net/cam/sigmoid", "net/gradcam/sigmoid", "net/random/softmax"]
    with pytest.raises(KeyError, match="no records"):
        run.column("net/cam/sigmoid", "y")
