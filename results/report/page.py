"""The HTML report of a run: one self-contained file that needs no network."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from ...atomic import write_text
from ...text import visible
from ..records.load import Run, load_run, require_images
from ..scores.merge import Merged
from ..statistics.intervals import RESAMPLES
from .answers import answers
from .citation import citation
from .classes import class_scores
from .curve_data import precision_recall, threshold_curves
from .report_data import leaderboard, looks, overview
from .samples import Picture, Pictures, explorer, palettes
from .scored import Json, Sheet, grouped

__all__ = ["Picture", "Pictures", "Source", "report_data", "write_report"]

SAMPLES, THUMB = 48, 224
FEWEST_SAMPLES = 8
"""Images of a table's explorer, at least, where several tables share ``samples``: a page stays one to send on."""
CHARTS_WEIGH = 6
"""Images whose maps take about the room of what a further table brings beside them: scores, comparisons, curves."""
SCRIPTS = (
    *("state.js", "dom.js", "look.js", "maps.js", "canvas.js", "answer.js", "dots.js", "leaderboard.js", "cost.js"),
    *("matrix.js", "curves.js", "classes.js", "explorer.js", "gallery.js", "export.js", "main.js"),
)
LIBRARIES = ("d3/d3.min.js", "plot/plot.umd.min.js")
"""Observable Plot draws every chart, as SVG; it needs D3."""
NO_PICTURES = "The images of the data set were not given to this report."


@dataclass(frozen=True)
class Source:
    """A run of the report, and where its pictures come from.

    Attributes:
        run: Its records. pictures: Gives the pictures of chosen data-set rows; without it the maps stand alone.
        absent: Why there are no pictures, for people.
    """

    run: Run
    pictures: Pictures | None = None
    absent: str = NO_PICTURES


def images_of_each(samples: int, tables: int) -> int:
    """Images in the explorer of each of several tables that share ``samples``.

    Three tables of 111 triples have 12 each, and the page less than 5 MB.
    """
    return max(min(samples, FEWEST_SAMPLES), (samples - CHARTS_WEIGH * (tables - 1)) // tables)


def write_report(
    runs: Run | Path | str | Source | Sequence[Source],
    dest: str | Path,
    *,
    samples: int = SAMPLES,
    thumb: int = THUMB,
    vals: Sequence[Run] = (),
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Path:
    """Write the report of one or more runs to ``dest``: a page with a table for each data set and protocol.

    Args:
        runs: A run folder, a run from ``load_run``, or one or several with their pictures.
        dest: The HTML file.
        samples: Images in the explorers of all tables together, ``FEWEST_SAMPLES`` or more in each.
        thumb: Largest side of a thumbnail in pixels.
        vals: Runs of the val split, for protocols whose location threshold is chosen there.
        resamples: Resamples of the intervals.
        seed: Seed of the draws.

    Raises:
        ValueError: No run, ``samples`` or ``thumb`` is not positive, or fewer than two resamples.
        RecordError: No run, or no image that all its triples share.
    """
    if samples < 1 or thumb < 1:
        raise ValueError(f"samples {samples} and thumb {thumb} must be at least 1")
    if isinstance(runs, Path | str):
        runs = load_run(runs)
    if isinstance(runs, Run):
        runs = Source(runs)
    sources = [runs] if isinstance(runs, Source) else runs
    data = report_data(sources, samples=samples, thumb=thumb, vals=vals, resamples=resamples, seed=seed)
    write_text(Path(dest), render(data))
    return Path(dest)


def report_data(
    sources: Sequence[Source], *, samples: int, thumb: int, vals: Sequence[Run] = (), resamples: int, seed: int
) -> Json:
    """Everything the page shows, as JSON values; arguments as in ``write_report``."""
    if not sources:
        raise ValueError("a report needs a run")
    for source in sources:
        require_images(source.run)
    tables = grouped([s.run for s in sources], vals)
    sheets = [Sheet.of(merged, resamples=resamples, seed=seed) for merged in tables]
    each = images_of_each(samples, len(sheets))
    sets = []
    for sheet in sheets:
        source = _pictured(sources, sheet.merged)
        sets.append(
            {
                **overview(sheet),
                **leaderboard(sheet),
                "answers": answers(sheet),
                "curves": threshold_curves(sheet),
                "pr": precision_recall(sheet),
                "perClass": class_scores(sheet),
                "explorer": explorer(sheet, each, source.pictures, source.absent, thumb),
                "cite": citation(sheet.merged),
            }
        )
    names = [one["name"] for one in sets]
    for one, merged in zip(sets, tables, strict=True):
        # Tables of one data set, of other protocols or limits, are told apart by their runs.
        if names.count(one["name"]) > 1:
            one["name"] = visible(f"{one['name']} ({', '.join(run.out.name for run in merged.runs)})")
    names = [one["name"] for one in sets]
    title = sets[0]["title"] if len(sets) == 1 else visible(f"{len(sets)} comparisons: {', '.join(names)}")
    return {"title": title, "sets": sets, "palettes": palettes(), "looks": looks(sheets)}


def _pictured(sources: Sequence[Source], merged: Merged) -> Source:
    """The first source of a table that has pictures, else its first."""
    outs = {run.out for run in merged.runs}
    own = [source for source in sources if source.run.out in outs]
    return next((source for source in own if source.pictures is not None), own[0])


def render(data: Json) -> str:
    """The page of ``report_data``; every name is data of a JSON island or escaped text, never markup or script."""
    assets = files(__package__) / "assets"
    own = [(assets / "report" / name).read_text(encoding="utf-8") for name in SCRIPTS]
    scripts = [(assets / name).read_text(encoding="utf-8").strip() for name in LIBRARIES]
    scripts.append('(() => {\n"use strict";\n' + "\n".join(own) + "})();")
    licences = [(assets / Path(name).parent / "LICENSE").read_text(encoding="utf-8") for name in LIBRARIES]
    style = (assets / "report" / "report.css").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    source = (files(__package__) / "templates" / "report.html.j2").read_text(encoding="utf-8")
    return environment.from_string(source).render(
        title=data["title"],
        style=Markup(style),
        scripts=[Markup(s) for s in scripts],
        data=Markup(island(data)),
        policy=" ".join(f"'sha256-{_digest(s)}'" for s in scripts),
        licence=Markup("\n".join(licences).replace("--", "- -")),
    )


def island(data: Json) -> str:
    """JSON that no HTML parser takes for markup, and that holds no NaN."""
    text = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
