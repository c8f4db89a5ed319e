"""How the report looks in a real headless Chromium: charts, widths, themes, contrast, names of controls."""

import os
from pathlib import Path

import pytest

By = pytest.importorskip("selenium.webdriver.common.by").By


def test_charts_are_drawn(page, settle):
    for chart in ("dots", "pareto", "matrix", "threshold", "pr", "classes-grid"):
        page.execute_script("document.getElementById(arguments[0]).scrollIntoView()", chart)
        settle()
        svg = page.find_element(By.CSS_SELECTOR, f"#{chart} svg[role=img]")
        assert svg.get_attribute("aria-label"), chart
        assert svg.find_elements(By.CSS_SELECTOR, "path, rect, line"), chart
    front = page.find_elements(By.CSS_SELECTOR, "#pareto-front tbody tr")
    assert 1 <= len(front) <= 5


@pytest.mark.parametrize("width", [360, 1280, 2560])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_fits_and_contrasts(page, settle, width, scheme):
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        # The commands may hold a path longer than a telephone is wide.
        page.execute_script("document.getElementById('cite-commands').append(' /' + 'folder'.repeat(60))")
        settle()
        assert page.execute_script("return document.documentElement.dataset.theme") == scheme
        assert page.execute_script("return document.documentElement.scrollWidth") <= width
        assert page.execute_script(LOW_CONTRAST) == []
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_paper_is_light_and_shows_every_column(page, settle):
    """A4 landscape, 10 mm margins: 1047 CSS pixels; on the screen the same table scrolls within 75 % of the height."""
    media = {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    size = {"width": 1047, "height": 718, "deviceScaleFactor": 1, "mobile": False}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        settle()
        assert page.execute_script("return document.documentElement.dataset.theme") == "light"
        assert page.execute_script("return document.documentElement.scrollWidth") <= 1047
        table = page.find_element(By.CSS_SELECTOR, "#leaderboard .scroll")
        hidden = "return [arguments[0].scrollWidth - arguments[0].clientWidth, getComputedStyle(arguments[0]).overflow]"
        assert page.execute_script(hidden, table) == [0, "visible"]
        assert not page.find_element(By.ID, "q").is_displayed()
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
    settle()
    assert page.find_element(By.ID, "q").is_displayed()


def test_every_control_has_a_name(page):
    unnamed = """const all = document.querySelectorAll("button, input, select, canvas:not(.chart canvas)");
      const named = (e) => e.getAttribute("aria-label") || e.labels?.length || e.textContent.trim();
      return [...all].filter((e) => !named(e)).map((e) => e.outerHTML.slice(0, 80))"""
    assert page.execute_script(unnamed) == []


def axe():
    """The file of axe-core: named by CAMBENCH_AXE, or installed by npm in the repository or the home folder."""
    below = "node_modules/axe-core/axe.min.js"
    places = [os.environ.get("CAMBENCH_AXE", ""), Path(__file__).parents[3] / below, Path.home() / below]
    return next((Path(p) for p in places if p and Path(p).is_file()), None)


@pytest.mark.skipif(axe() is None, reason="axe-core is not at hand (npm install axe-core)")
def test_axe_finds_nothing_serious(page, settle):
    for chart in ("pareto", "matrix", "threshold", "classes-grid", "gallery", "cite"):
        page.execute_script("document.getElementById(arguments[0]).scrollIntoView()", chart)
        settle()
    page.execute_script("for (const one of document.querySelectorAll('details')) one.open = true")
    page.set_script_timeout(120)
    page.execute_script(axe().read_text(encoding="utf-8"))
    found = page.execute_async_script("const end = arguments[0]; axe.run(document).then((r) => end(r.violations))")
    serious = [v for v in found if v["impact"] in ("serious", "critical")]
    assert [(v["id"], [n["html"][:120] for n in v["nodes"]]) for v in serious] == []


# Texts whose contrast with the nearest background is below 4.5 (WCAG 2, AA).
LOW_CONTRAST = """
const parse = (c) => c.match(/[\\d.]+/g).map(Number);
const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
const light = (c) => c.slice(0, 3).map((v) => linear(v / 255))
  .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
const behind = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
  if (c.length < 4 || c[3] > 0.99) return c; } return [255, 255, 255]; };
const bad = [];
for (const e of document.querySelectorAll("body *")) {
  const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
  if (!own || ["SCRIPT", "STYLE", "OPTION", "NOSCRIPT"].includes(e.tagName) || !e.offsetParent) continue;
  const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
  if ((a + 0.05) / (b + 0.05) < 4.5) bad.push(`${e.tagName} ${e.textContent.slice(0, 30)}`);
}
return bad;
"""
