"""The HTML report without a browser: what its data say, and that no name in it becomes markup."""

import base64
import io
import json
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from cambench.results.records.load import load_run
from cambench.results.records.store import RunStore
from cambench.results.report.page import Picture, Source, island, report_data, write_report
from cambench.results.report.samples import LARGEST_MAP, _classes_in_turn, choose_rows
from cambench.results.report.scored import Sheet
from cambench.results.scores.merge import merge_runs
from cambench.results.scores.shown import score_run
from cambench.results.statistics.bootstrap import bootstrap_run

HOSTILE = '</script><img src=x onerror="document.title=1">&amp;\u202e\x07'
ROWS = 11


class Page(HTMLParser):
    """Tags, attributes that load something, and the JSON island of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.loads, self.island, self._inside = [], [], "", False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.tags.append(tag)
        self.loads += [values[k] for k in ("src", "href", "srcset", "data", "action") if k in values]
        self._inside = values.get("id") == "data"

    def handle_data(self, data):
        if self._inside:
            self.island += data

    def handle_endtag(self, tag):
        self._inside = False

    @property
    def data(self):
        """The first table's data, and the page's title."""
        page = json.loads(self.island)
        return page["sets"][0] | {"title": page["title"], "sets": page["sets"]}


def picture_source(size=224):
    asked = []

    def read(rows):
        asked.extend(rows)
        image = np.full((size, size, 3), 90, np.uint8)
        return {r: Picture(image, np.array([[10, 10, 60, 60]])) for r in rows}

    return read, asked


def run_with_maps(toy, out, side=7, **changes):
    """A toy run whose triples have maps (n,side,side) that grow to the lower right."""
    manifest = toy.manifest(**changes)
    with RunStore.open(out, manifest) as store:
        for shard in range(manifest.shards):
            span = manifest.rows_of(shard)
            ramp = np.add.outer(np.arange(side), np.arange(side)) / (2 * side)
            maps = np.stack([ramp + i for i in span]).astype(np.float32)
            rows = {t: toy.rows(t, span, map=maps) for t in toy.canonical(manifest)}
            for name in ("image_id",):
                ids = np.array([f"{HOSTILE}{i}" for i in span], dtype=object)
                rows = {t: {**columns, name: ids} for t, columns in rows.items()}
            store.write_shard("net", shard, rows, [], {})
        store.finish(durations_s={})
    return load_run(out)


@pytest.fixture(scope="module")
def page(toy, tmp_path_factory):
    """The page of a toy run with maps and hostile names, and its run."""
    folder = tmp_path_factory.mktemp("report")
    manifest = toy.manifest()
    names = [HOSTILE + str(k) for k in range(4)]
    data = manifest.dataset.model_copy(update={"class_names": names, "title": HOSTILE})
    cams = {n: c.model_copy(update={"title": HOSTILE + n}) for n, c in manifest.cams.items()}
    run = run_with_maps(toy, folder / "run", dataset=data, cams=cams, skipped={"net/x/softmax": HOSTILE})
    source, _ = picture_source()
    file = write_report(Source(run, source), folder / "report.html", samples=5, resamples=50)
    return Page(file.read_text(encoding="utf-8")), run, file


def test_one_file_that_loads_nothing(page):
    parsed, _, file = page
    assert all(link.startswith(("#", "data:")) for link in parsed.loads)
    assert "default-src 'none'" in file.read_text()
    assert parsed.tags.count("script") == 4
    assert parsed.tags.count("img") == 0


def test_hostile_names_are_data(page):
    parsed, _, file = page
    text = file.read_text(encoding="utf-8")
    assert HOSTILE not in text
    assert "<img src=x" not in text
    assert "\u202e" not in text
    assert parsed.data["title"].startswith("</script><img src=x")
    assert "\\u202e\\x07" in parsed.data["explorer"]["cases"][0]["id"]
    assert all("<img" in name for name in parsed.data["explorer"]["classes"].values())
    assert any("<img" in note for note in parsed.data["asides"])


def test_island_survives_a_parser():
    value = {"a": "</script><!--<script>&\u2028"}
    assert json.loads(island(value)) == value
    assert not set("<>&\u2028") & set(island(value))


def test_leaderboard_is_the_scores_and_their_intervals(page):
    parsed, run, _ = page
    scores = score_run(run).scores
    intervals = bootstrap_run(run, resamples=50).intervals()
    assert [row["id"] for row in parsed.data["triples"]] == run.triples
    for row in parsed.data["triples"]:
        assert row["scores"] == pytest.approx(scores[row["id"]], abs=1e-9)
        for name, (low, high) in row["intervals"].items():
            assert [low, high] == pytest.approx([intervals[row["id"]][name].low, intervals[row["id"]][name].high])
    alias = next(row for row in parsed.data["triples"] if row["id"] == "net/gradcam/softmax")
    assert alias["alias"]
    assert alias["record"] == parsed.data["triples"][0]["record"]
    assert [row["control"] for row in parsed.data["triples"]] == [False] * 4 + [True]


def test_threshold_curves_peak_at_the_scores(page):
    parsed, run, _ = page
    scores, curves = score_run(run).scores, parsed.data["curves"]
    assert len(curves["x"]) == 255
    for row in parsed.data["triples"]:
        values = curves["values"][row["record"]]
        assert max(values["single"]) == pytest.approx(scores[row["id"]]["max_box_acc"], abs=1e-3)
        multi = np.mean([max(values[f"multi:{d}"]) for d in (0.3, 0.5, 0.7)])
        assert multi == pytest.approx(scores[row["id"]]["max_box_acc_v2"], abs=1e-3)


def test_precision_recall_matches_counted_pixels(page):
    parsed, run, _ = page
    total = run.column("net/cam/softmax", "pixel_histogram").astype(np.int64).sum(0)
    found = parsed.data["pr"]["values"][0]
    for recall, precision in zip(parsed.data["pr"]["x"], found, strict=True):
        # The highest threshold bin from which on at least this share of the object's pixels lies.
        for start in range(total.shape[1] - 1, -1, -1):
            background, objects = total[:, start:].sum(1)
            if objects >= recall * total[1].sum() - 1e-6:
                break
        assert precision == pytest.approx(objects / (objects + background), abs=1e-5)


def test_explorer_has_the_maps_scores_and_thumbnails(page):
    parsed, run, _ = page
    explorer = parsed.data["explorer"]
    rows = [case["row"] for case in explorer["cases"]]
    assert len(rows) == 5
    assert rows == sorted(rows)
    record = explorer["records"][0]
    stored = run.column("net/cam/softmax", "map")[rows]
    for text, expected in zip(record["maps"]["data"], stored, strict=True):
        values = np.frombuffer(base64.b64decode(text), "<f4").reshape(record["maps"]["height"], record["maps"]["width"])
        np.testing.assert_array_equal(values, expected)
    frame = run.records("net/cam/softmax").iloc[rows]
    drop = 100 * np.maximum(frame["y"] - frame["o"], 0) / frame["y"]
    assert record["scores"]["average_drop"] == pytest.approx(drop.tolist(), rel=1e-4)
    picture = Image.open(io.BytesIO(base64.b64decode(explorer["cases"][0]["image"].partition(",")[2])))
    assert picture.size == (224, 224)
    assert explorer["cases"][0]["boxes"] == [[10, 10, 60, 60]]
    assert explorer["absent"] == ""


def test_only_the_chosen_pictures_are_read_and_thumbnails_are_bounded(page, tmp_path):
    _, run, _ = page
    source, asked = picture_source()
    file = write_report(Source(run, source), tmp_path / "r.html", samples=3, thumb=64, resamples=2)
    cases = Page(file.read_text()).data["explorer"]["cases"]
    assert asked == [case["row"] for case in cases]
    assert len(asked) == 3
    assert Image.open(io.BytesIO(base64.b64decode(cases[0]["image"].partition(",")[2]))).size == (64, 64)


def test_without_maps_and_pictures_the_rest_works(toy, tmp_path):
    run = load_run(toy.fill(tmp_path / "run", toy.manifest()))
    file = write_report(Source(run, absent="no <data> here"), tmp_path / "r.html", resamples=2)
    data = Page(file.read_text()).data
    assert data["explorer"]["absent"] == "no <data> here"
    assert all(record["maps"] is None for record in data["explorer"]["records"])
    assert [case["image"] for case in data["explorer"]["cases"]] == [None] * ROWS
    assert len(data["triples"]) == 5
    assert data["curves"]["values"][0]["single"]


def test_large_maps_are_shrunk_and_said_to_be(toy, tmp_path):
    run = run_with_maps(toy, tmp_path / "run", side=128)
    data = Page(write_report(run, tmp_path / "r.html", samples=2, resamples=2).read_text()).data
    maps = data["explorer"]["records"][0]["maps"]
    assert (maps["height"], maps["width"], maps["shrunk"]) == (LARGEST_MAP, LARGEST_MAP, [128, 128])
    rows = [case["row"] for case in data["explorer"]["cases"]]
    expected = run.column("net/cam/softmax", "map")[rows[0]].reshape(64, 2, 64, 2).mean((1, 3))
    found = np.frombuffer(base64.b64decode(maps["data"][0]), "<f4").reshape(64, 64)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_chosen_rows_hold_those_where_triples_disagree(toy, tmp_path):
    manifest = toy.manifest()
    disputed = 7
    with RunStore.open(tmp_path / "run", manifest) as store:
        for shard in range(manifest.shards):
            span = manifest.rows_of(shard)
            rows = {}
            for k, triple in enumerate(toy.canonical(manifest)):
                hits = np.zeros((len(span), 3, 32), np.uint8)
                hits[[i == disputed and k % 2 == 0 for i in span]] = 255
                rows[triple] = toy.rows(triple, span, hits_single=hits, hits_multi=hits)
            store.write_shard("net", shard, rows, [], {})
        store.finish(durations_s={})
    run = load_run(tmp_path / "run")
    sheet = Sheet.of(merge_runs([run]), resamples=2, seed=0)
    assert disputed in choose_rows(sheet, 2)
    assert len(choose_rows(sheet, 6)) == 6
    np.testing.assert_array_equal(choose_rows(sheet, 99), run.index)


def test_of_the_telling_images_each_class_has_one_before_any_has_two():
    interest, labels = np.array([5.0, 5, 4, 0, 3]), np.array([0, 0, 0, 1, 2])
    assert _classes_in_turn(interest, labels).tolist() == [0, 4, 1, 2, 3], "that of no interest is last"


def test_a_run_without_images_is_refused(page, tmp_path):
    from cambench.results.records.record_errors import RecordError

    _, run, _ = page
    with pytest.raises(RecordError, match="no image"):
        write_report(replace(run, index=run.index[:0]), tmp_path / "r.html")
    with pytest.raises(ValueError, match="samples 0"):
        write_report(run, tmp_path / "r.html", samples=0)


def test_right_and_wrong_are_for_hits_whatever_the_values(toy, tmp_path):
    run = run_with_maps(toy, tmp_path / "run")
    data = report_data([Source(run)], samples=2, thumb=32, resamples=20, seed=0)["sets"][0]
    assert set(data["explorer"]["hits"]) == {"top1_loc", "gt_known_loc", "max_box_acc"}
    assert any("bootstrap intervals of fewer than 20 are too narrow" in note for note in data["notes"])
