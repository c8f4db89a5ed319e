"""Reports of several runs: which share a table, what each says in words, and what is repeated from their records."""

import csv
import json
import re
from types import SimpleNamespace
from xml.etree import ElementTree

import pytest

from cambench.results.records.load import load_run
from cambench.results.records.store import RunStore
from cambench.results.report import Source, write_report
from cambench.results.report.answers import _best
from cambench.results.report.page import images_of_each, report_data
from cambench.results.report.scored import Sheet, grouped
from cambench.results.report.titles import Titles
from cambench.results.scores.merge import merge_runs
from cambench.results.scores.shown import METRICS, score_run
from cambench.results.statistics.intervals import Interval
from cambench.results.statistics.standing import standing
from cambench.triple import Triple

By = pytest.importorskip("selenium.webdriver.common.by").By


@pytest.fixture(scope="module")
def runs(toy, tmp_path_factory):
    """Three runs: two of one data set, with different methods; one of another."""
    folder, manifest = tmp_path_factory.mktemp("sets"), toy.manifest()
    other = manifest.dataset.model_copy(update={"name": "other", "fingerprint": "c" * 64, "title": ""})
    some = [t for t in manifest.triples if t.cam != "random"]
    aliases = {t: to for t, to in manifest.aliases.items() if t in some}
    settings = {"command": "/venv/bin/__main__.py run --dataset toy --out 'a b'"}
    first = toy.fill(folder / "first", toy.manifest(triples=some, aliases=aliases, settings=settings))
    whole = toy.fill(folder / "whole", manifest)
    third = toy.fill(folder / "third", toy.manifest(dataset=other))
    return [load_run(out) for out in (first, whole, third)]


def data_of(runs):
    return report_data([Source(run) for run in runs], samples=4, thumb=32, resamples=50, seed=0)


def test_runs_of_the_same_data_share_a_table(runs):
    data = data_of(runs)
    assert [one["name"] for one in data["sets"]] == ["toy", "other"]
    assert [len(one["triples"]) for one in data["sets"]] == [5, 5]
    assert len({t["id"] for t in data["sets"][0]["triples"]}) == 5
    assert data["title"] == "2 comparisons: toy, other"


def test_tables_share_the_images_of_their_explorers(runs, monkeypatch):
    """A page of several tables stays about as large as one of one table, and no explorer is left with next to none."""
    monkeypatch.setattr("cambench.results.report.page.FEWEST_SAMPLES", 2)
    assert [len(one["explorer"]["cases"]) for one in data_of(runs)["sets"]] == [2, 2]
    monkeypatch.setattr("cambench.results.report.page.FEWEST_SAMPLES", 3)
    assert [len(one["explorer"]["cases"]) for one in data_of(runs)["sets"]] == [3, 3]


def test_runs_that_cannot_share_a_table_stand_beside_each_other(toy, runs, tmp_path):
    weights = {n: b.model_copy(update={"weights_sha256": "f" * 64}) for n, b in runs[0].manifest.backbones.items()}
    changed = load_run(toy.fill(tmp_path / "changed", toy.manifest(backbones=weights)))
    data = data_of([runs[1], changed])
    assert [one["name"] for one in data["sets"]] == ["toy (whole)", "toy (changed)"]


def test_the_answer_says_what_the_statistics_say(runs):
    (merged,) = grouped([runs[1]])
    sheet, stats = Sheet.of(merged, resamples=200, seed=0), standing(merge_runs([runs[1]]), resamples=200)
    for metric in sheet.contests:
        for backbone, one in stats.unbeaten.get("net", {}).items():
            if one.metric.name == metric.name:
                assert sheet.unbeaten[metric.name]["net"].sentence("c", "b") == one.sentence("c", "b"), backbone
        ranks = {t: r[metric.name] for t, r in stats.ranks.items() if metric.name in r}
        beaten = {str(sheet.records[loser]) for _, loser in sheet.won[metric.name]}
        assert beaten == {str(t) for t, rank in ranks.items() if rank > 1 and t in sheet.records}
    data = report_data([Source(runs[1])], samples=2, thumb=32, resamples=200, seed=0)["sets"][0]
    for name, answer in data["answers"].items():
        metric = next(m for m in data["metrics"] if m["name"] == name)
        rows = [t for t in data["triples"] if not t["control"] and name in t["scores"]]
        best = (max if metric["up"] else min)(t["scores"][name] for t in rows)
        assert f"{best:.{metric['digits']}f}" in answer["lines"][0]
        assert ("highest" if metric["up"] else "lowest") in answer["lines"][0]


TAKEN = """window.taken = [];
  const Plain = Blob;
  window.Blob = class extends Plain {
    constructor(parts, options) { super(parts, options); window.taken.push(parts.join("")); }
  };
  Object.defineProperty(navigator, "clipboard", { value: { writeText: async (text) => window.taken.push(text) } });
  HTMLAnchorElement.prototype.click = () => {};"""
"""What is saved or copied lands in a list."""


@pytest.mark.parametrize(
    ("scores", "worse", "expected"),
    [
        ((60.0,), [], "CAM with softmax on Net: PxAP 60.00 % (60.00 to 60.00)."),
        ((60.0, 50.0), [1], "(60.00 to 60.00). The other, CAM with sigmoid, is significantly worse."),
        ((60.0, 50.0), [], "The other, CAM with sigmoid, is not significantly worse."),
        ((60.0, 50.0, 40.0), [1, 2], "Each of the 2 others on this network is significantly worse."),
        ((60.0, 50.0, 40.0), [], "None of the 2 others on this network is significantly worse."),
        ((60.0, 50.0, 40.0), [2], "Of the 2 others on this network, 1 (CAM with sigmoid) is not significantly worse."),
        ((60.0, 60.001, 40.0), [2], "CAM with softmax and CAM with sigmoid on Net share the highest PxAP: 60.00 %"),
    ],
)
def test_the_best_is_said_in_a_sentence_that_fits_their_number(scores, worse, expected):
    metric = next(m for m in METRICS if m.name == "pxap")
    triples = [Triple.parse(t) for t in ("net/cam/softmax", "net/cam/sigmoid", "net/gradcam/softmax")][: len(scores)]
    titles = Titles({"net": "Net"}, {"cam": "CAM", "gradcam": "Grad-CAM"}, {"softmax": "softmax", "sigmoid": "sigmoid"})
    boot = SimpleNamespace(
        points={t: {"pxap": score} for t, score in zip(triples, scores, strict=True)},
        interval=lambda *_: Interval(60.0, 60.0),
    )
    sheet = SimpleNamespace(
        records=triples, boot=boot, titles=titles, won={"pxap": {(0, i) for i in worse}}, is_control=lambda _: False
    )
    assert expected in _best(sheet, metric, 0, list(range(len(triples))))


@pytest.fixture(scope="module")
def networks(toy, tmp_path_factory):
    """A run of two networks of one title."""
    one = toy.manifest()
    names = {"net": "net", "other": "other"}
    triples = [t.but(backbone=name) for name in names for t in one.triples]
    aliases = {t.but(backbone=name): to.but(backbone=name) for name in names for t, to in one.aliases.items()}
    manifest = toy.manifest(triples=triples, aliases=aliases, backbones=dict.fromkeys(names, one.backbones["net"]))
    out = tmp_path_factory.mktemp("networks") / "run"
    with RunStore.open(out, manifest) as store:
        for name in names:
            for shard in range(manifest.shards):
                toy.write(store, name, shard)
        store.finish(durations_s={})
    return load_run(out)


def test_what_leads_on_every_network_is_named(networks):
    (merged,) = grouped([networks])
    sheet = Sheet.of(merged, resamples=200, seed=0)
    data = report_data([Source(networks)], samples=2, thumb=32, resamples=200, seed=0)["sets"][0]
    for metric in sheet.contests:
        sign = 1 if metric.higher_is_better else -1
        leading = {}
        for t in merged.triples:
            if sheet.is_control(t):
                continue
            own = [u for u in merged.triples if u.backbone == t.backbone and not sheet.is_control(u)]
            best = max(own, key=lambda u: sign * sheet.boot.points[u][metric.name])
            beaten = (sheet.number(best), sheet.number(t)) in sheet.won[metric.name]
            leading.setdefault((t.cam, t.head), []).append(not beaten)
        everywhere = [key for key, found in leading.items() if all(found)]
        line = next((x for x in data["answers"][metric.name]["lines"] if "networks" in x), "")
        assert ("on both networks" in line) == bool(everywhere), metric.name


def test_the_heads_are_compared_pair_by_pair(networks):
    data = report_data([Source(networks)], samples=2, thumb=32, resamples=200, seed=0)["sets"][0]
    by_id = {t["id"]: t for t in data["triples"]}
    heads = data["answers"]["pxap"]["heads"]
    assert heads["about"] == "Against softmax, with the same network and method"
    # gradcam/softmax has the records of cam/softmax; the two sigmoid ones have their own: four pairs of two networks.
    changes = [
        by_id[f"{net}/{cam}/sigmoid"]["scores"]["pxap"] - by_id[f"{net}/{cam}/softmax"]["scores"]["pxap"]
        for net in ("net", "other")
        for cam in ("cam", "gradcam")
    ]
    ((title, text),) = heads["items"]
    assert title == "sigmoid"
    mean = f"{sum(changes) / 4:+.2f}".replace("-", "−")
    assert text.startswith(f"{mean} points on average; ")
    assert "of 4 pairs significantly better" in text


def test_blocks_of_networks_and_what_readers_take_along(browser, networks, tmp_path):
    file = write_report(networks, tmp_path / "networks.html", samples=4, resamples=20)
    browser.get("about:blank")
    browser.get(file.as_uri())

    def texts(selector):
        return [e.text for e in browser.find_elements(By.CSS_SELECTOR, selector)]

    assert len(texts("#board tbody.network")) == 2
    rows = len(texts("#board tbody:not(.network) tr"))
    browser.execute_script(TAKEN)
    saved, copied = (lambda: browser.execute_script("return window.taken.at(-1)")), "[aria-label^='Copy as Markdown']"
    browser.find_element(By.CSS_SELECTOR, "[aria-label^='Save as CSV']").click()
    header, *lines = csv.reader(saved().splitlines())
    assert header[:3] == ["network", "method", "head"]
    assert len(lines) == rows
    (mine,) = [line for line in lines if line[0] == "Net (net)" and line[1:3] == ["CAM", "sigmoid"]]
    assert mine[header.index("PxAP")] == f"{score_run(networks).scores['net/cam/sigmoid']['pxap']:.2f}"
    browser.find_element(By.CSS_SELECTOR, copied).click()
    markdown = saved().splitlines()
    assert len(markdown) == rows + 2
    assert all(line.count("|") == len(header) + 1 for line in markdown)
    browser.find_element(By.CSS_SELECTOR, "[aria-label='Save as SVG: The answer']").click()
    picture = ElementTree.fromstring(saved())
    words = [" ".join(t.itertext()) for t in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert "Net (net)" in words, "the panels keep their titles"
    assert any("higher is better" in w for w in words), "and say what they show"
    browser.find_element(By.CSS_SELECTOR, '[data-sort="pxap"]').click()
    assert texts("#board tbody.network") == [], "sorted, the rows of all networks are one list"
    assert browser.get_log("browser") == []


def test_classes_are_the_means_of_their_images(runs):
    data = data_of(runs[1:2])["sets"][0]
    frame = runs[1].records("net/cam/sigmoid")
    drop = 100 * (frame["y"] - frame["o"]).clip(lower=0) / frame["y"]
    expected = drop.groupby(frame["label"]).mean()
    found = data["perClass"]
    record = next(t["record"] for t in data["triples"] if t["id"] == "net/cam/sigmoid")
    assert found["values"]["average_drop"][record] == pytest.approx(expected.tolist(), abs=1e-3)
    assert [c["images"] for c in found["classes"]] == frame["label"].value_counts().sort_index().tolist()


def test_what_repeats_the_numbers_is_cited(runs):
    cite = data_of(runs[:1])["sets"][0]["cite"]
    manifest = runs[0].manifest
    assert cite["commands"][0] == "cambench run --dataset toy --out 'a b'"
    assert cite["commands"][1].startswith("cambench report ")
    values = [value for _, value in cite["digests"]]
    for digest in (manifest.protocol.digest, manifest.dataset.fingerprint, manifest.key):
        assert digest in values
    assert manifest.backbones["net"].weights_sha256 in values
    assert manifest.protocol.digest in cite["text"]


def test_another_data_set_is_chosen_and_linked(browser, runs, tmp_path):
    file = write_report([Source(r) for r in runs], tmp_path / "several.html", samples=4, resamples=20)
    assert not re.search(r"https?://(?!d3js|www\.w3\.org|observablehq)[a-z]", file.read_text().split("<script")[0])
    browser.get("about:blank")
    browser.get(file.as_uri())
    options = browser.find_elements(By.CSS_SELECTOR, "#set option")
    assert [o.text.split(" ")[0] for o in options] == ["toy", "other"]
    titles = [f.text for f in browser.find_elements(By.CSS_SELECTOR, "#dots figcaption")]
    assert [t.split(" ")[0] for t in titles] == ["toy", "other"], "the main chart shows both"
    browser.get("about:blank")
    browser.get(f"{file.as_uri()}#set=1&view=leaderboard")
    assert "of other, split" in browser.find_element(By.ID, "compared").text
    top = browser.execute_script("return document.getElementById('leaderboard').getBoundingClientRect().top")
    assert abs(top) < 60, "the link leads to its section"
    assert browser.get_log("browser") == []
    assert json.loads(json.dumps(browser.execute_script("return location.hash"))) == "#set=1&view=leaderboard"


def test_tables_share_the_images_that_keep_a_page_small():
    assert [images_of_each(48, tables) for tables in (1, 2, 3, 4, 9)] == [48, 21, 12, 8, 8]
    assert [images_of_each(2, tables) for tables in (1, 2, 3)] == [2, 2, 2], "never more than were asked for"
