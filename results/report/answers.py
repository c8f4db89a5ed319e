"""The report's first lines: who is best in a metric, what the heads change, and whether the metric can tell."""

from __future__ import annotations

import math

from ...text import visible
from ...triple import Triple
from ..scores.shown import Metric
from ..tables.naming import BASE_HEAD
from .scored import Json, Sheet

NAMED = 3
"""Methods of a sentence that are named one by one; the rest are counted."""


def answers(sheet: Sheet) -> Json:
    """Metric -> ``lines`` (sentences), ``heads`` and ``doubts``.

    ``heads`` has what they are compared with (``about``) and what each changes (``items``: its title and a text);
    ``doubts`` says of a backbone why the metric does not discriminate there.
    """
    return {
        metric.name: {
            "lines": [visible(line) for line in _lines(sheet, metric)],
            "heads": _heads(sheet, metric),
            "doubts": {
                visible(sheet.titles.backbones[backbone]): visible(
                    one.sentence(_name(sheet, Triple.parse(one.control)), _name(sheet, Triple.parse(one.best)))
                )
                for backbone, one in sheet.unbeaten.get(metric.name, {}).items()
            },
        }
        for metric in sheet.contests
    }


def _lines(sheet: Sheet, metric: Metric) -> list[str]:
    methods = [i for i, t in enumerate(sheet.records) if not sheet.is_control(t) and _has(sheet, i, metric)]
    if not methods:
        return [f"No method has {metric.title}."]
    sign = 1 if metric.higher_is_better else -1
    best = max(methods, key=lambda i: sign * sheet.boot.points[sheet.records[i]][metric.name])
    return [
        line
        for line in (_best(sheet, metric, best, methods), _everywhere(sheet, metric, methods), _control(sheet, metric))
        if line
    ]


def _best(sheet: Sheet, metric: Metric, best: int, methods: list[int]) -> str:
    triple = sheet.records[best]
    interval = sheet.boot.interval(triple, metric.name)
    span = f"{_number(metric, interval.low)} to {_number(metric, interval.high)}"
    network = sheet.titles.backbones[triple.backbone]
    own = [i for i in methods if sheet.records[i].backbone == triple.backbone]
    shown = {i: _number(metric, sheet.boot.points[sheet.records[i]][metric.name]) for i in own}
    tied = [i for i in own if shown[i] == shown[best]]
    others = [i for i in own if i not in tied]
    if len(own) == 1 and len(methods) == 1:
        return f"{_listed(sheet, own)} on {network}: {metric.title} {shown[best]}{_unit(metric)} ({span})."
    direction = "highest" if metric.higher_is_better else "lowest"
    text = (
        f"{_listed(sheet, tied)} on {network} {'has' if len(tied) == 1 else 'share'} the {direction} {metric.title}: "
        f"{shown[best]}{_unit(metric)} ({span})."
    )
    return f"{text} {_others(sheet, others, [i for i in others if (best, i) not in sheet.won[metric.name]])}".rstrip()


def _others(sheet: Sheet, others: list[int], equal: list[int]) -> str:
    """How many of the others on a network are significantly worse than its best; ``equal`` are not."""
    if not others:
        return ""
    if len(others) == 1:
        return f"The other, {_listed(sheet, others)}, is {'not ' if equal else ''}significantly worse."
    if not equal:
        return f"Each of the {len(others)} others on this network is significantly worse."
    if len(equal) == len(others):
        return f"None of the {len(others)} others on this network is significantly worse."
    named = f" ({_listed(sheet, equal)})" if len(equal) <= 2 else ""
    of = "is" if len(equal) == 1 else "are"
    return f"Of the {len(others)} others on this network, {len(equal)}{named} {of} not significantly worse."


def _listed(sheet: Sheet, records: list[int]) -> str:
    return _joined([_name(sheet, sheet.records[i]) for i in records])


def _joined(names: list[str]) -> str:
    """Names in a sentence; of many, the first few and how many more."""
    if len(names) > NAMED + 1:
        names = [*names[:NAMED], f"{len(names) - NAMED} more"]
    return " and ".join(filter(None, ("; ".join(names[:-1]), names[-1])))


def _everywhere(sheet: Sheet, metric: Metric, methods: list[int]) -> str:
    """The method and head that is among the best on most networks; nothing where there is one network."""
    sign = 1 if metric.higher_is_better else -1
    leading: dict[str, set[int]] = {}
    for network in dict.fromkeys(sheet.records[i].backbone for i in methods):
        own = [i for i in methods if sheet.records[i].backbone == network]
        best = max(own, key=lambda i: sign * sheet.boot.points[sheet.records[i]][metric.name])
        leading[network] = {i for i in own if i == best or (best, i) not in sheet.won[metric.name]}
    if len(leading) < 2 or len(methods) < 2 * len(leading):
        return ""
    found: dict[tuple[str, str], list[Triple]] = {}
    for triple in sheet.merged.triples:
        if sheet.number(triple) in leading.get(triple.backbone, ()) and not sheet.is_control(triple):
            found.setdefault((triple.cam, triple.head), []).append(triple)
    most = max(map(len, found.values()))
    # Methods that are equal by algebra on every network are one, under the first name.
    same: dict[tuple[int, ...], Triple] = {}
    for triples in found.values():
        if len(triples) == most:
            same.setdefault(tuple(map(sheet.number, triples)), triples[0])
    names = [_name(sheet, triple) for triple in same.values()]
    if most == 1:
        return "No method is among the best on more than one network."
    where = _all(most) if most == len(leading) else f"{most} of {len(leading)}"
    return f"Best, or not significantly worse, on {where} networks: {_joined(names)}."


def _all(count: int) -> str:
    return "both" if count == 2 else f"all {count}"


def _heads(sheet: Sheet, metric: Metric) -> Json:
    """What each head changes against the base head: how often and by how much, of the same network and method."""
    changes: dict[str, list[tuple[int, int]]] = {}
    seen: set[tuple[str, int, int]] = set()
    number = {t: sheet.number(t) for t in sheet.merged.triples}
    for triple, record in number.items():
        base = number.get(triple.but(head=BASE_HEAD))
        if base is None or base == record or sheet.is_control(triple):
            continue
        # Methods that are equal by algebra are one pair.
        pair = triple.head, base, record
        if pair not in seen and _has(sheet, record, metric) and _has(sheet, base, metric):
            seen.add(pair)
            changes.setdefault(sheet.titles.heads[triple.head], []).append((base, record))
    about = f"Against {sheet.titles.heads[BASE_HEAD]}, with the same network and method"
    items = [[visible(head), _change(sheet, metric, pairs)] for head, pairs in changes.items()]
    return {"about": visible(about), "items": items}


def _change(sheet: Sheet, metric: Metric, pairs: list[tuple[int, int]]) -> str:
    """Mean difference of pairs (base, other), and how many are significant."""
    points = [sheet.boot.points[triple].get(metric.name, math.nan) for triple in sheet.records]
    mean = sum(points[other] - points[base] for base, other in pairs) / len(pairs)
    won = sheet.won[metric.name]
    better, worse = sum((o, b) in won for b, o in pairs), sum((b, o) in won for b, o in pairs)
    unit = " points" if metric.unit == "%" else ""
    size = f"{mean:+.{metric.digits}f}".replace("-", "−") + unit
    if len(pairs) == 1:
        return f"{size}, " + (
            "significantly better" if better else "significantly worse" if worse else "not significant"
        )
    return f"{size} on average; {better} of {len(pairs)} pairs significantly better, {worse} worse"


def _control(sheet: Sheet, metric: Metric) -> str:
    """The best control, where every control is beaten: how far the scale reaches down."""
    controls = [t for i, t in enumerate(sheet.records) if sheet.is_control(t) and _has(sheet, i, metric)]
    if not controls or sheet.unbeaten.get(metric.name):
        return ""
    sign = 1 if metric.higher_is_better else -1
    best = max(controls, key=lambda t: sign * sheet.boot.points[t][metric.name])
    score = _number(metric, sheet.boot.points[best][metric.name]) + _unit(metric)
    name = sheet.titles.cams[best.cam]
    return f"The best control, {name}, which does not look at the class, reaches {score}."


def _has(sheet: Sheet, record: int, metric: Metric) -> bool:
    return math.isfinite(sheet.boot.points[sheet.records[record]].get(metric.name, math.nan))


def _name(sheet: Sheet, triple: Triple) -> str:
    return sheet.titles.row(triple, control=sheet.is_control(triple))


def _number(metric: Metric, value: float) -> str:
    return f"{value:.{metric.digits}f}"


def _unit(metric: Metric) -> str:
    return " %" if metric.unit == "%" else ""
