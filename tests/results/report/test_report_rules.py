"""The report's own box rule, in a real headless Chromium: exactly the levels and boxes of the records."""

from importlib.resources import files

import numpy as np
import pytest
import torch

from cambench.metrics.functional.boxes import level_ious, quantize, quantize_levels
from cambench.metrics.functional.maps import min_max, resize_maps


@pytest.fixture(scope="module")
def rules():
    return (files("cambench.results.report") / "assets" / "report" / "maps.js").read_text(encoding="utf-8")


@pytest.mark.parametrize("shape", [(7, 7), (14, 14), (5, 9), (56, 56), (224, 224)])
def test_levels_are_those_of_the_records(browser, rules, shape):
    maps = np.random.default_rng(shape).random((2, *shape)).astype(np.float32)
    script = rules + "return arguments[0].map((m) => [...levelsOf(m, arguments[1], arguments[2], 224, arguments[3])])"
    rule = {"kernel": "bicubic", "lowMinMax": False, "finished": False}
    found = browser.execute_script(script, maps.reshape(2, -1).astype(float).tolist(), *shape, rule)
    np.testing.assert_array_equal(np.reshape(found, (2, 224, 224)), quantize_levels(torch.from_numpy(maps)).numpy())


def test_bilinear_rule_agrees_to_one_level_in_a_thousand_pixels(browser, rules):
    maps = np.random.default_rng(3).random((1, 14, 14))
    script = rules + "return [...levelsOf(arguments[0], 14, 14, 224, arguments[1])]"
    rule = {"kernel": "bilinear", "lowMinMax": True, "finished": False}
    found = browser.execute_script(script, maps.ravel().tolist(), rule)
    low, _ = min_max(torch.from_numpy(maps))
    expected = quantize(min_max(resize_maps(low, 224, "bilinear"))[0]).numpy().ravel().astype(int)
    assert np.abs(np.array(found) - expected).max() <= 1
    assert (np.array(found) != expected).mean() < 1e-3


@pytest.mark.parametrize("kind", ["noise", "rings", "ties", "blobs"])
def test_boxes_are_those_of_the_records_at_every_level(browser, rules, kind):
    rng = np.random.default_rng(5)
    side = 24
    if kind == "noise":
        levels = rng.integers(0, 256, (side, side))
    elif kind == "ties":
        levels = rng.integers(0, 3, (side, side)) * 100
    elif kind == "rings":
        y, x = np.mgrid[:side, :side] - side / 2
        levels = 100 + 90 * np.sin(np.hypot(y, x) * 1.7) + rng.integers(0, 30, (side, side))
    else:
        levels = quantize_levels(torch.from_numpy(rng.random((1, 6, 6))), side)[0].numpy()
    levels = np.asarray(levels, np.uint8)
    gt = np.array([[3, 4, 12, 15], [14, 2, 23, 9]])
    script = (
        rules
        + """const [levels, side, truth] = arguments, out = [];
      for (let cut = 0; cut < 256; cut++) {
        const found = boxesOf(levels, side, cut);
        const one = [found.single];
        out.push([bestIou(found.multi, truth), bestIou(one, truth), bestIou(one, truth.slice(0, 1))]);
      }
      return out;"""
    )
    found = np.array(browser.execute_script(script, levels.ravel().tolist(), side, gt.tolist()))
    expected = level_ious(torch.from_numpy(levels)[None], [gt])
    for k, name in enumerate(("multi", "single", "single_first")):
        np.testing.assert_allclose(found[:, k], getattr(expected, name)[0].numpy(), rtol=1e-12, err_msg=name)
