"""Takes the pictures of the documentation: ``python docs/make_images.py RUN``, RUN being the embedded benchmark's.

Needs Chromium with its chromedriver, selenium, pdflatex and poppler. Screenshots are of the run's report, figures are
those of the command line; all are reduced to 200 colours.
"""

from __future__ import annotations

import base64
import io
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from drawings import draw
from PIL import Image, ImageChops
from selenium import webdriver

IMAGES = Path(__file__).parent / "images"
COLOURS = 200
REFERENCE = "slim_resnet%2Fcam%2Fsoftmax"
VIEWS: dict[str, tuple[str, int, int]] = {
    "report-first": ("", 1440, 960),
    "report-phone": ("", 360, 1500),
    "report-dark": ("#metric=average_drop", 1440, 960),
    "report-leaderboard": (
        f"#view=leaderboard&sort=max_box_acc_v2&against={REFERENCE}&backbone=Slim+ResNet",
        1280,
        640,
    ),
    "report-cost": ("#view=cost", 1280, 780),
    "report-wins": ("#view=wins", 1280, 560),
    "report-curves": ("#view=curves", 1280, 560),
    "report-classes": ("#view=classes", 1280, 360),
    "report-gallery": ("#view=gallery", 1280, 540),
    "report-explorer": ("#view=explorer", 1280, 800),
}
"""Name -> part of the address, width and height in pixels."""
FIGURES = {
    "figure-maps": "maps --triples slim_resnet/{gradcam,layercam}/{softmax,sigmoid} --rows 3 --run RUN",
    "figure-methods": (
        "maps --triples slim_resnet/{gradcam,gradcam++,hirescam,layercam,eigencam,random}/softmax --rows 2 --run RUN"
    ),
    "figure-pareto": "pareto RUN",
    "figure-distortion": "distortion --backbone slim_vgg_gap --images 16 --channels 8 --run RUN",
    "synthbirds": "contact-sheet --dataset synthbirds",
}


COMPACT = ("--columns", "gt_known_loc,max_box_acc_v2,pxap,average_drop", "--heads", "softmax,sigmoid")
PAPER2 = ("--methods", "cam,gradcam++")


def main(run: Path) -> None:
    """Write every picture."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, words in FIGURES.items():
            target = Path(folder) / f"{name}.png"
            given = [str(run) if word == "RUN" else word for word in words.split()]
            command = [sys.executable, "-m", "cambench", "figure", *given, "--dpi", "110", "--out", str(target)]
            subprocess.run(command, check=True)
            keep(Image.open(target), name)
        explained(Path(folder) / "explained.png")
        keep(latex_tables(run, Path(folder)), "table-latex")
        for drawn in draw(run, Path(folder)):
            keep(Image.open(drawn), drawn.stem)
        page = Path(folder) / "report.html"
        subprocess.run([sys.executable, "-m", "cambench", "report", str(run), "--out", str(page)], check=True)
        browser = chromium()
        try:
            for name, (address, width, height) in VIEWS.items():
                keep(screenshot(browser, page.as_uri() + address, width, height, dark="dark" in name), name)
        finally:
            browser.quit()


def explained(target: Path) -> None:
    """The pictures of the page on notebooks."""
    import cambench
    from cambench.datasets.open import open_table

    rows = open_table("synthbirds", None, "test").head(3).rows
    birds = [Image.open(io.BytesIO(picture["bytes"])) for picture in rows["image"]]
    several = cambench.explain("slim_resnet", birds, cam=["gradcam", "layercam", "eigencam", "random"], head="softmax")
    several.save(target)
    keep(Image.open(target), "notebook-explain")


def latex_tables(run: Path, folder: Path) -> Image.Image:
    """The last network's compact table and the paper's second one, as a two-column article sets them."""
    floats: dict[str, None] = {}
    for layout, name, more in (("compact", "scores", COMPACT), ("paper2", "paper2", PAPER2)):
        table = [sys.executable, "-m", "cambench", "leaderboard", str(run), "--layout", layout, *more]
        subprocess.run([*table, "--dest", str(folder / layout)], check=True)
        text = (folder / layout / f"{name}.tex").read_text(encoding="utf-8")
        begun, end = text.split("\\begin{table", 1)[0], text.rfind("\\begin{table")
        floats |= dict.fromkeys(line for line in begun.splitlines() if line.startswith("\\"))
        floats[text[end:]] = None
    article = "\\documentclass[twocolumn,10pt]{article}\n\\usepackage{booktabs,siunitx,xcolor}\n\\pagestyle{empty}\n"
    body = "\n".join(floats)
    (folder / "article.tex").write_text(
        f"{article}\\begin{{document}}\n\\null\n{body}\n\\end{{document}}\n", encoding="utf-8"
    )
    for _ in range(2):
        subprocess.run(["pdflatex", "-interaction=batchmode", "article.tex"], cwd=folder, check=True)
    subprocess.run(["pdftoppm", "-r", "110", "-png", "article.pdf", "page"], cwd=folder, check=True)
    pages = [written(Image.open(page).convert("RGB")) for page in sorted(folder.glob("page*.png"))]
    shown = [page for page in pages if page is not None]
    both = Image.new("RGB", (max(p.width for p in shown), sum(p.height for p in shown)), "white")
    for k, page in enumerate(shown):
        both.paste(page, ((both.width - page.width) // 2, sum(p.height for p in shown[:k])))
    return both


def written(page: Image.Image) -> Image.Image | None:
    """The part of a white page that has something on it, with a margin."""
    found = ImageChops.difference(page, Image.new("RGB", page.size, "white")).getbbox()
    return None if found is None else page.crop((found[0] - 12, found[1] - 12, found[2] + 12, found[3] + 12))


def chromium() -> Any:
    """A headless Chromium."""
    options = webdriver.ChromeOptions()
    for flag in ("--headless=new", "--no-sandbox", "--hide-scrollbars", "--force-prefers-reduced-motion"):
        options.add_argument(flag)
    options.binary_location = shutil.which("chromium") or shutil.which("google-chrome") or ""
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver") or ""))


def screenshot(browser: Any, address: str, width: int, height: int, *, dark: bool) -> Image.Image:
    """What a window of a size shows, once everything is drawn."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    browser.get("about:blank")
    browser.get(address)
    time.sleep(3)
    taken = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"]
    return Image.open(io.BytesIO(base64.b64decode(taken)))


def keep(image: Image.Image, name: str) -> None:
    """Write a picture in few colours, at most 1280 pixels wide."""
    picture = image.convert("RGB")
    picture.thumbnail((1280, 4000), Image.Resampling.LANCZOS)
    picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE).save(
        IMAGES / f"{name}.png", optimize=True
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
