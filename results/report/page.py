"""The HTML report of a run: one self-contained file that needs no network."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from ...atomic import write_text
from ..records.load import Run, load_run, require_images
from ..statistics.bootstrap import bootstrap_run
from ..statistics.intervals import RESAMPLES
from .report_data import Json, leaderboard, overview, precision_recall, threshold_curves
from .samples import Picture, Pictures, explorer, palettes

__all__ = ["Picture", "Pictures", "report_data", "write_report"]

SAMPLES, THUMB = 48, 224
SCRIPTS = ("state.js", "leaderboard.js", "charts.js", "maps.js", "canvas.js", "explorer.js", "main.js")
NO_PICTURES = "The images of the data set were not given to this report."


def write_report(
    run: Run | Path | str,
    dest: str | Path,
    *,
    pictures: Pictures | None = None,
    absent: str = NO_PICTURES,
    samples: int = SAMPLES,
    thumb: int = THUMB,
    val: Run | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Path:
    """Write the report of a run to ``dest``.

    Args:
        run: A run folder, or a run from ``load_run``.
        dest: The HTML file.
        pictures: Gives the pictures of chosen data-set rows; without it the explorer shows maps alone.
        absent: Why there are no pictures, for people.
        samples: Images in the explorer. thumb: Largest side of a thumbnail in pixels.
        val: Records of the val split, for a protocol whose location threshold is chosen there.
        resamples: Resamples of the intervals. seed: Of the draws.

    Raises:
        ValueError: ``samples`` or ``thumb`` is not positive, or fewer than two resamples.
        RecordError: No run, or no image that all its triples share.
    """
    if samples < 1 or thumb < 1:
        raise ValueError(f"samples {samples} and thumb {thumb} must be at least 1")
    loaded = run if isinstance(run, Run) else load_run(run)
    data = report_data(
        loaded,
        pictures=pictures, absent=absent, samples=samples, thumb=thumb, val=val, resamples=resamples, seed=seed,
    )  # fmt: skip
    write_text(Path(dest), render(data))
    return Path(dest)


def report_data(
    run: Run,
    *,
    pictures: Pictures | None,
    absent: str,
    samples: int,
    thumb: int,
    val: Run | None,
    resamples: int,
    seed: int,
) -> Json:
    """Everything the page shows, as JSON values; arguments as in ``write_report``."""
    require_images(run)
    boot = bootstrap_run(run, val=val, resamples=resamples, seed=seed)
    return {
        **overview(run),
        **leaderboard(run, boot),
        "curves": threshold_curves(run, boot),
        "pr": precision_recall(run, boot),
        "explorer": explorer(run, boot, samples, pictures, absent, thumb),
        "palettes": palettes(),
    }


def render(data: Json) -> str:
    """The page of ``report_data``; every name is data of a JSON island or escaped text, never markup or script."""
    assets = files(__package__) / "assets"
    own = [(assets / "report" / name).read_text(encoding="utf-8") for name in SCRIPTS]
    scripts = [
        (assets / "uplot" / "uPlot.iife.min.js").read_text(encoding="utf-8").strip(),
        '(() => {\n"use strict";\n' + "\n".join(own) + "})();",
    ]
    styles = [(assets / part).read_text(encoding="utf-8") for part in ("uplot/uPlot.min.css", "report/report.css")]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    source = (files(__package__) / "templates" / "report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source).render(
        title=data["title"],
        style=Markup("\n".join(styles)),
        scripts=[Markup(s) for s in scripts],
        data=Markup(island(data)),
        policy=" ".join(f"'sha256-{_digest(s)}'" for s in scripts),
        licence=Markup((assets / "uplot" / "LICENSE").read_text(encoding="utf-8").replace("--", "- -")),
    )


def island(data: Json) -> str:
    """JSON that no HTML parser takes for markup, and that holds no NaN."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
