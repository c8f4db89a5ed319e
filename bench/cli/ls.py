"""What ``cambench ls`` shows: the registries, as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ...baselines import declared_cost
from ...consoles import err
from ...datasets.open import PLACE as DATASET_PLACE
from ...declared import Place, declared, registry_of
from ...protocol import PROTOCOLS
from ...registry import UnknownNameError, expand_braces
from ...triple import TIMM
from ..engine.planning.words import BACKBONE_PLACE, CAM_PLACE, HEAD_PLACE, WSOL_PLACE
from ..host.errors import UsageError

METRIC_PLACE = Place("metrics.spec", "METRICS", "MetricSpec")
Row = tuple[str, ...]
Rows = list[Row]


def _entries(place: Place, pattern: str, needed: Iterable[str] = ()) -> Iterator[tuple[str, Any]]:
    """Name and entry of what a pattern matches: as its source declares it, or the registered one.

    The registry is loaded where others add to it, or where a fact that is ``needed`` is known only to the running code.
    """
    known = declared(place)
    if known is not None and all(hasattr(entry, fact) for entry in known.entries.values() for fact in needed):
        patterns = expand_braces(pattern)
        yield from ((n, e) for n, e in known.entries.items() if any(fnmatchcase(n, p) for p in patterns))
        return
    registry = registry_of(place)
    yield from ((name, registry.get(name)) for name in registry.names(pattern))


def _backbones(pattern: str) -> tuple[Row, Rows]:
    rows: Rows = []
    for name, spec in _entries(BACKBONE_PLACE, pattern, ("native_classes", "weights", "source")):
        shipped = spec.weights or "–"
        rows.append((name, spec.title, str(spec.native_classes or "–"), shipped, spec.source))
    if pattern.startswith(TIMM):
        err.print("starting: the networks of timm", soft_wrap=True)
        from ...baselines.backbones import timm_models

        refused = []
        for model in timm_models(pattern.removeprefix(TIMM)):
            if model.refused:
                refused.append(f"{TIMM}{model.name} cannot be used: {model.refused}")
                continue
            title, tags = f"{model.family}, {model.layout}", " ".join(model.pretrained) or "–"
            rows.append((f"{TIMM}{model.name}", title, str(model.classes or "–"), tags, "timm"))
        if refused and not rows:
            more = f" (and {len(refused) - 1} more like it)" if refused[1:] else ""
            raise UsageError(refused[0] + more)
    return ("name", "title", "classes", "weights", "source"), rows


def _cams(pattern: str) -> tuple[Row, Rows]:
    rows: Rows = []
    for name, method in _entries(CAM_PLACE, pattern, ("needs", "returns", "source")):
        needs = ", ".join(sorted(method.needs)) or "nothing"
        cost = declared_cost(getattr(method, "cost", ""), method.needs)
        rows.append((name, method.title, needs, method.returns, cost, method.source))
    return ("name", "title", "needs", "returns", "cost", "source"), rows


def _heads(pattern: str) -> tuple[Row, Rows]:
    found = [head for _, head in _entries(HEAD_PLACE, pattern, ("branch", "clamp", "source"))]
    rows: Rows = [(h.name, h.title, h.branch, "yes" if h.clamp else "no", h.source) for h in found]
    return ("name", "title", "branch", "clamp", "source"), rows


def _datasets(pattern: str) -> tuple[Row, Rows]:
    rows: Rows = []
    for name, spec in _entries(DATASET_PLACE, pattern):
        rows.append((name, spec.title))
    return ("name", "title"), rows


def _supported(truth: Sequence[str]) -> list[str]:
    """Titles of the metrics that a data set with this ground truth supports."""
    lacking = {"boxes", "masks", "evidence"} - set(truth)
    return [metric.title for _, metric in _entries(METRIC_PLACE, "*", ("needs",)) if not lacking & set(metric.needs)]


def _metrics(pattern: str) -> tuple[Row, Rows]:
    rows: Rows = []
    for name, metric in _entries(METRIC_PLACE, pattern, ("higher_is_better", "unit", "source")):
        better = "higher" if metric.higher_is_better else "lower"
        rows.append((name, metric.title, better, metric.unit, metric.source))
    return ("name", "title", "better", "unit", "source"), rows


def _protocols(pattern: str) -> tuple[Row, Rows]:
    rows: Rows = []
    for name in PROTOCOLS.names(pattern):
        protocol = PROTOCOLS.get(name)
        changed = PROTOCOLS.get("paper").differences(protocol)
        text = "; ".join(f"{k}={v[1]}" for k, v in changed.items()) or "the default"
        rows.append((name, f"v{protocol.version}", protocol.digest, text))
    return ("name", "version", "digest", "differs from paper by"), rows


def _wsol(pattern: str) -> tuple[Row, Rows]:
    rows: Rows = [(name, way.title, way.source) for name, way in _entries(WSOL_PLACE, pattern, ("title", "source"))]
    return ("name", "title", "source"), rows


KINDS: dict[str, Callable[[str], tuple[Row, Rows]]] = {
    "backbones": _backbones,
    "cams": _cams,
    "heads": _heads,
    "datasets": _datasets,
    "metrics": _metrics,
    "protocols": _protocols,
    "wsol": _wsol,
}


def show(console: Console, kind: str | None, pattern: str, verbose: bool) -> None:
    """Print one kind of name, or all; the plain form has names and titles, the verbose one every column.

    Data sets, and CAM methods that are named (or a pattern of theirs), are shown as cards in the verbose form.

    Raises:
        UnknownNameError: No such kind, or no name matches the pattern.
        UsageError: Of timm's networks the pattern matches only such as cannot be used; the message gives the reason.
    """
    if kind is not None and kind not in KINDS:
        raise UnknownNameError("kind", kind, KINDS)
    everything = f"{TIMM}*" if pattern.startswith(TIMM) else "*"
    for name, rows_of in KINDS.items():
        if kind not in (None, name):
            continue
        columns, rows = rows_of(pattern)
        if kind is not None and not rows:
            raise UnknownNameError(name.rstrip("s"), pattern, [r[0] for r in rows_of(everything)[1]])
        if kind == "cams" and verbose and pattern != "*":
            _print_cards(console, [r[0] for r in rows])
            return
        if name == "datasets" and verbose:
            _print_data_sets(console, [r[0] for r in rows])
            continue
        shown = columns if verbose else columns[:2]
        table = Table(*shown, title=name, title_justify="left", box=None, pad_edge=False, header_style="bold")
        table.columns[0].overflow = "fold"
        for row in rows:
            table.add_row(*(escape(cell) for cell in row[: len(shown)]))
        console.print(table)
        console.print()


def _print_cards(console: Console, names: Iterable[str]) -> None:
    err.print("starting: the methods", soft_wrap=True)
    from ...baselines.cams import CAMS, method_card

    for name in names:
        card = method_card(CAMS.get(name))
        _print_card(console, f"{card.title} ({card.name})", card.lines())


def _print_data_sets(console: Console, names: Iterable[str]) -> None:
    from ...datasets.schema import DATASETS

    for name in names:
        spec = DATASETS.get(name)
        counts = ", ".join(f"{split} {count:,}" for split, count in spec.counts.items())
        lines = [
            ("images", f"{counts or 'as on disk'}; classes: {spec.num_classes or 'as on disk'}"),
            ("truth", ", ".join(spec.metrics)),
            ("metrics", ", ".join(_supported(spec.metrics))),
            ("source", spec.source),
            ("licence", spec.licence or "see the publisher"),
            *((f"--option {key}=", meaning) for key, meaning in spec.options.items()),
        ]
        _print_card(console, f"{spec.title} ({name})", lines)


def _print_card(console: Console, title: str, lines: Iterable[tuple[str, str]]) -> None:
    table = Table(box=None, pad_edge=False, show_header=False, title_justify="left")
    table.title = Text(title, style="bold")
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for label, text in lines:
        table.add_row(label, Text(text))
    console.print(table)
    console.print()
