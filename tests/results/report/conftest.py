"""A headless Chromium, and a report on maps with recorded hits and hostile names everywhere."""

import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from cambench.metrics.functional.boxes import level_ious, quantize
from cambench.metrics.functional.localisation import pack_hits
from cambench.metrics.functional.maps import min_max, resize_maps
from cambench.results.records.load import load_run
from cambench.results.records.store import RunStore
from cambench.results.report.page import Picture, Source, write_report

HOSTILE = '"><script>window.hacked = 1</script><img src=x onerror="window.hacked=1">'
SIZE = 224
METRICS = (
    *("top1_cls", "top1_loc", "gt_known_loc", "max_box_acc", "max_box_acc_v2", "pxap", "average_drop"),
    *("increase_in_confidence", "average_gain", "evidence_precision", "degenerate"),
)
EVERYTHING = "#view=explorer&fold=0&intervals=1&" + "&".join(f"columns={n}" for n in (*METRICS, "cost", "map", "ms"))
"""Address of the explorer, beside the table with every column and row."""
TRIPLES = ("net/cam/softmax", "net/cam/sigmoid", "net/gradcam/sigmoid", "net/random/softmax")


@pytest.fixture(scope="session")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver")
    binary = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("no Chromium with its chromedriver on this machine")
    options = webdriver.ChromeOptions()
    flags = [
        "--headless=new",
        "--force-prefers-reduced-motion",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--window-size=1280,900",
    ]
    # Chromium refuses its sandbox to root, who runs containers.
    flags += ["--no-sandbox"] if os.geteuid() == 0 else []
    for flag in flags:
        options.add_argument(flag)
    options.binary_location = binary
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()


def truth(row):
    x, y = 20 + 9 * row, 30 + 5 * row
    return np.array([[x, y, x + 80, y + 70], [5, 5, 25, 25]])


def low_maps(triple, rows, side=7):
    """Noise; under one triple, even rows also have a plateau on their first box."""
    maps = np.stack([np.random.default_rng([r, *triple.encode()]).random((side, side)) ** 3 for r in rows])
    for low, row in zip(maps, rows, strict=True):
        if triple == TRIPLES[2] and row % 2 == 0:
            (x0, y0), (x1, y1) = -(-truth(row)[0, :2] // 32), truth(row)[0, 2:] // 32
            low *= 0.1
            low[y0:y1, x0:x1] = 1
    return maps


def scored_rows(toy, triple, rows):
    """Records whose hits are those of the maps, by the functions that a run uses."""
    low = low_maps(triple, rows).astype(np.float32)
    if triple == TRIPLES[1]:
        low[0] = 0.25
    up = resize_maps(torch.from_numpy(low), SIZE, "bicubic")
    norm, degenerate = min_max(up)
    if "random" in triple:
        norm, degenerate = up.clamp(0, 1), torch.zeros_like(degenerate)
    levels = quantize(norm)
    ious = level_ious(levels, [truth(r) for r in rows])
    hits = {f"hits_{k}": pack_hits(getattr(ious, k), (0.3, 0.5, 0.7)).numpy() for k in ("multi", "single")}
    first = {"hits_single_first": pack_hits(ious.single_first, (0.3, 0.5, 0.7)).numpy()}
    peak = levels.amax((1, 2)).numpy()
    ids = np.array([f"{HOSTILE}{r}" for r in rows], dtype=object)
    columns = {**hits, **first, "peak": peak, "map": low, "degenerate": degenerate.numpy(), "image_id": ids}
    if "random" in triple:
        columns["evidence_precision"] = np.linspace(0, 0.01, len(rows))
    return toy.rows(triple, rows, **columns), ious


@pytest.fixture(scope="session")
def made(toy, tmp_path_factory):
    """``file``, ``run``, its distinct ``triples``, the ``hostile`` name, and the IoUs (of rows) of a triple's maps."""
    folder = tmp_path_factory.mktemp("page")
    manifest = toy.manifest()
    names = [f"{HOSTILE}{k}" for k in range(4)]
    data = manifest.dataset.model_copy(update={"class_names": names, "title": HOSTILE})
    cams = {
        n: c.model_copy(update={"title": f"{n} {HOSTILE}", "cost": f"1 forward {HOSTILE}"})
        for n, c in manifest.cams.items()
    }
    cams["random"] = cams["random"].model_copy(update={"finished": True})
    manifest = toy.manifest(dataset=data, cams=cams, skipped={"net/other/softmax": HOSTILE})
    timings = {
        t: {"ms_per_image": 3.0 + k, "images_per_s": 300.0, "map_forwards": 1.0 + 40 * k} for k, t in enumerate(TRIPLES)
    }
    with RunStore.open(folder / "run", manifest) as store:
        for shard in range(manifest.shards):
            rows = {t: scored_rows(toy, t, list(manifest.rows_of(shard)))[0] for t in TRIPLES}
            store.write_shard("net", shard, rows, [], {})
        store.finish(durations_s={}, timings=type(manifest.timings).model_validate({"triples": timings}))
    run = load_run(folder / "run")
    image = np.random.default_rng(0).integers(0, 255, (SIZE, SIZE, 3), dtype=np.uint8)

    def pictures(rows):
        return {r: Picture(image, truth(r)) for r in rows}

    file = write_report(Source(run, pictures), folder / "report.html", resamples=20)

    def ious(triple, rows):
        return scored_rows(toy, triple, rows)[1]

    return SimpleNamespace(file=file, run=run, triples=TRIPLES, hostile=HOSTILE, ious=ious)


@pytest.fixture
def open_page(browser, made):
    """Opens the report, optionally at a fragment."""

    def opened(fragment=""):
        browser.get("about:blank")
        browser.get(f"{made.file.as_uri()}{fragment}")
        settled(browser)
        return browser

    return opened


@pytest.fixture
def settle(browser):
    """Waits for pictures to be decoded and painted."""
    return lambda: settled(browser)


@pytest.fixture
def page(browser, open_page):
    """The report with everything shown; it must leave no message in the console, and run no script of a name."""
    yield open_page(EVERYTHING)
    messages = browser.get_log("browser")
    assert not messages, messages
    assert browser.execute_script("return window.hacked") is None


def settled(browser):
    done = "const end = arguments[0]; setTimeout(() => requestAnimationFrame(() => requestAnimationFrame(end)), 120)"
    browser.execute_async_script(done)
