"""The report beside kept pictures of it.

The pictures were taken of the drawn records of ``conftest`` by the Chromium and the fonts that ``kept/rendering.json``
tells; another major version, or fonts that set a line of text otherwise, would move every line, so there the
comparison is skipped. Both pictures are shrunk to a quarter and grey; what counts is where things stand, not how an
edge is smoothed. ``CAMBENCH_KEEP=1`` takes them anew.
"""

import base64
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

KEPT = Path(__file__).parent / "kept"
HEIGHT, SHRINK = 1400, 4
MEAN, STRONG, SHARE = 3.0, 40, 0.02
"""Mean difference of the grey values, and the share of pixels that may differ by more than ``STRONG``."""
FONTS = """const context = document.createElement("canvas").getContext("2d");
  return ["16px", "600 18px", "12px"].map((size) => {
    context.font = `${size} ${getComputedStyle(document.body).fontFamily}`;
    return Math.round(10 * context.measureText("Grad-CAM++ 73.67 % (69.9 to 76.9) τ").width) / 10;
  });"""


def rendering(browser):
    return {
        "chromium": browser.capabilities["browserVersion"].split(".")[0],
        "fonts": browser.execute_script(FONTS),
    }


def picture(browser, settle, width):
    metrics = {"width": width, "height": HEIGHT, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        settle()
        settle()
        taken = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"]
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    image = Image.open(io.BytesIO(base64.b64decode(taken))).convert("L")
    return image.resize((width // SHRINK, HEIGHT // SHRINK), Image.Resampling.BOX)


@pytest.mark.parametrize("width", [360, 1024, 1440])
def test_it_looks_as_it_did(open_page, settle, width):
    browser = open_page()
    ours, note = rendering(browser), KEPT / "rendering.json"
    if os.environ.get("CAMBENCH_KEEP"):
        KEPT.mkdir(exist_ok=True)
        note.write_text(json.dumps(ours) + "\n")
        picture(browser, settle, width).save(KEPT / f"report_{width}.png", optimize=True)
        pytest.skip("taken anew")
    if json.loads(note.read_text()) != ours:
        pytest.skip(f"the pictures were taken with {json.loads(note.read_text())}, this is {ours}")
    found = np.asarray(picture(browser, settle, width), dtype=float)
    kept = np.asarray(Image.open(KEPT / f"report_{width}.png"), dtype=float)
    assert found.shape == kept.shape
    apart = np.abs(found - kept)
    assert apart.mean() < MEAN
    assert (apart > STRONG).mean() < SHARE
