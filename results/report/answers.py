"""The report's first lines: who is best in a metric, what the heads change, and whether the metric can tell."""

from __future__ import annotations

from ...text import visible
from ...triple import Triple
from ..scores.shown import Metric
from ..tables.naming import BASE_HEAD, backbone_title, cam_title, head_title
from .scored import Json, Sheet


def answers(sheet: Sheet) -> Json:
    """Metric -> ``lines`` (sentences) and ``doubts`` (backbone -> why the metric does not discriminate there)."""
    return {
        metric.name: {
            "lines": [visible(line) for line in _lines(sheet, metric)],
            "doubts": {
                visible(backbone_title(sheet.merged.manifest(one.best), backbone)): visible(
                    one.sentence(_name(sheet, Triple.parse(one.control)), _name(sheet, Triple.parse(one.best)))
                )
                for backbone, one in sheet.unbeaten.get(metric.name, {}).items()
            },
        }
        for metric in sheet.contests
    }


def _lines(sheet: Sheet, metric: Metric) -> list[str]:
    methods = [i for i, t in enumerate(sheet.records) if not sheet.is_control(t) and sheet.has(i, metric)]
    if not methods:
        return [f"No method has {metric.title}."]
    sign = 1 if metric.higher_is_better else -1
    best = max(methods, key=lambda i: sign * sheet.boot.points[sheet.records[i]][metric.name])
    return [
        line for line in (_best(sheet, metric, best, methods), _heads(sheet, metric), _control(sheet, metric)) if line
    ]


def _best(sheet: Sheet, metric: Metric, best: int, methods: list[int]) -> str:
    triple = sheet.records[best]
    interval = sheet.boot.interval(triple, metric.name)
    score = f"{_number(metric, sheet.boot.points[triple][metric.name])}{_unit(metric)}"
    span = f"{_number(metric, interval.low)} to {_number(metric, interval.high)}"
    network = backbone_title(sheet.merged.manifest(triple), triple.backbone)
    others = [i for i in methods if i != best and sheet.records[i].backbone == triple.backbone]
    equal = [i for i in others if (best, i) not in sheet.won[metric.name]]
    direction = "highest" if metric.higher_is_better else "lowest"
    text = f"{_name(sheet, triple)} on {network} has the {direction} {metric.title}: {score} ({span})."
    if not others:
        return text
    if not equal:
        return f"{text} It is significantly better than each of the {len(others)} others on this network."
    named = " (" + ", ".join(_name(sheet, sheet.records[i]) for i in equal) + ")" if len(equal) <= 2 else ""
    of = "is" if len(equal) == 1 else "are"
    return f"{text} Of the {len(others)} others on this network, {len(equal)}{named} {of} not significantly worse."


def _heads(sheet: Sheet, metric: Metric) -> str:
    """What each head changes against the base head: how often, of the same network and method."""
    number = {t: sheet.number(t) for t in sheet.merged.triples}
    counts: dict[str, list[int]] = {}
    seen: set[tuple[str, int, int]] = set()
    for triple, record in number.items():
        base = triple.but(head=BASE_HEAD)
        if triple == base or base not in number or number[base] == record or sheet.is_control(triple):
            continue
        if not (sheet.has(record, metric) and sheet.has(number[base], metric)):
            continue
        # Methods that are equal by algebra are one pair.
        pair = triple.head, number[base], record
        if pair in seen:
            continue
        seen.add(pair)
        better, worse = ((a, b) in sheet.won[metric.name] for a, b in ((record, number[base]), (number[base], record)))
        count = counts.setdefault(_head(sheet, triple), [0, 0, 0])
        for place, happened in enumerate((True, better, worse)):
            count[place] += happened
    if not counts:
        return ""
    base_title = head_title(sheet.manifest, BASE_HEAD)
    each = [
        f"{head} is significantly better in {b} and worse in {w} of {n} pairs" for head, (n, b, w) in counts.items()
    ]
    return f"Against {base_title}, with the same network and method: {'; '.join(each)}."


def _control(sheet: Sheet, metric: Metric) -> str:
    """The best control, where every control is beaten: how far the scale reaches down."""
    controls = [t for i, t in enumerate(sheet.records) if sheet.is_control(t) and sheet.has(i, metric)]
    if not controls or sheet.unbeaten.get(metric.name):
        return ""
    sign = 1 if metric.higher_is_better else -1
    best = max(controls, key=lambda t: sign * sheet.boot.points[t][metric.name])
    score = _number(metric, sheet.boot.points[best][metric.name]) + _unit(metric)
    name = cam_title(sheet.merged.manifest(best), best.cam)
    return f"The best control, {name}, which does not look at the class, reaches {score}."


def _name(sheet: Sheet, triple: Triple) -> str:
    cam = cam_title(sheet.merged.manifest(triple), triple.cam)
    return cam if sheet.is_control(triple) else f"{cam} with {_head(sheet, triple)}"


def _head(sheet: Sheet, triple: Triple) -> str:
    return head_title(sheet.merged.manifest(triple), triple.head)


def _number(metric: Metric, value: float) -> str:
    return f"{value:.{metric.digits}f}"


def _unit(metric: Metric) -> str:
    return " %" if metric.unit == "%" else ""
