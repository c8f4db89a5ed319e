"""Labels as tools write them: whole numbers in any spelling, names, and both beside each other.

The rule. A label is stripped of blanks and composed (Unicode NFC). Whole numbers are class indices, whatever their
spelling: ``7``, ``007`` and ``7.0`` are one class. Names are ranked by code point. A number that is not whole is never
a label, and numbers beside names are refused, unless ``labels=names`` says that all are names: numbers then come
first, in the order of their values.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from ...findings import Findings, OptionError, some
from ...schema import DatasetError
from ...tables.checks import check_class_count
from ..network_classes import network_indices, network_names

KINDS = ("auto", "names", "indices", "network", "none")
LABEL_OPTION = (
    "what labels are: auto (default: whole numbers are class indices, anything else are names), names, indices, "
    "network (the network's own classes by their names, ImageNet's also by WordNet id or index), or none (labels are "
    "not read: the predicted class is drawn, and nothing is scored against labels)"
)
_WHOLE = re.compile(r"[+-]?[0-9]+(\.0*)?")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
LONGEST = 18
"""Digits of the largest whole number that is read as one."""


def check_kind(value: object) -> str:
    """The option ``labels``; OptionError for an unknown one."""
    kind = "auto" if value is None else str(value)
    if kind not in KINDS:
        raise OptionError(f"folder: labels={kind}; choose one of {', '.join(KINDS)}")
    return kind


def label_space(kind: str, names: tuple[str, ...] = ()) -> dict[str, str]:
    """What a table of these classes says of labels that are a network's own classes, or are not read.

    ``label_names``: the names are not ImageNet's, so another network must know them; why, in words.
    """
    if kind == "network" and names and not all(map(str.isdecimal, names)):
        try:
            network_indices(names, {}, "folder")
        except DatasetError as error:
            return {"label_space": kind, "label_names": str(error)}
    return {"label_space": kind} if kind in ("network", "none") else {}


def cleaned(text: str) -> str:
    """A label without blanks around it, composed."""
    return unicodedata.normalize("NFC", text.strip())


def whole(text: str) -> int | None:
    """The whole number that a label is, in any spelling; None where it is none."""
    digits = text.partition(".")[0]
    return int(digits) if _WHOLE.fullmatch(text) and len(digits) <= LONGEST else None


_JOINT = re.compile(r"\s*[|;,]\s*")
"""What stands between the classes of an image in one field."""


def class_indices(
    labels: Iterable[str], kind: str, where: object, findings: Findings
) -> tuple[dict[str, int], tuple[str, ...], bool]:
    """Label -> class index, the class names by index, and whether their number is known.

    Args:
        labels: All labels of the file, ``cleaned``.
        kind: One of ``KINDS``.
        where: The file, for messages.
        findings: Receives warnings of labels that are likely something else than they seem.

    Raises:
        DatasetError: Fractions; negative or huge numbers; numbers beside names; names that the network has not.
    """
    distinct = sorted(set(labels))
    if kind == "none":
        return dict.fromkeys(distinct, 0), (), False
    numbers = {t: n for t in distinct if (n := whole(t)) is not None}
    fractions = [t for t in distinct if t not in numbers and _NUMBER.fullmatch(t)]
    if fractions:
        raise DatasetError(
            f"{where}: labels must be whole numbers or names; found the numbers {some(fractions)}. Is the column a "
            "score, or a coordinate?"
        )
    names = [t for t in distinct if t not in numbers]
    if kind == "network" and names:
        try:
            return network_indices(distinct, numbers, where), network_names(), True
        except DatasetError as error:
            findings.note(f"{error}. Another network may have classes of these names", where)
            return _ranked(names, numbers, where, findings)
    if names and numbers and kind != "names":
        raise DatasetError(
            f"{where}: labels are whole numbers ({some(list(numbers))}) beside names ({some(names)}); correct the "
            "file, or pass --option labels=names if the numbers are names of classes too"
        )
    known = set(names)
    joined = [t for t in names if (parts := _JOINT.split(t))[1:] and not known.isdisjoint(parts)]
    if joined:
        what = f"{len(joined):,} labels name several classes in one, and are classes of their own here: {some(joined)}"
        findings.warn(what, where, "write a line for each image and class; then classes=rows or label=only reads them")
    if names and kind == "indices":
        raise DatasetError(f"{where}: labels=indices, and these labels are no whole numbers: {some(names)}")
    if numbers and kind != "names":
        return _indexed(numbers, where, findings)
    return _ranked(names, numbers, where, findings)


def _indexed(
    numbers: dict[str, int], where: object, findings: Findings
) -> tuple[dict[str, int], tuple[str, ...], bool]:
    negative = [t for t, n in numbers.items() if n < 0]
    if negative:
        raise DatasetError(f"{where}: labels are class indices from 0; found {some(negative)}")
    check_class_count(max(numbers.values()) + 1, where)
    used = set(numbers.values())
    if 0 not in used and used == set(range(1, max(used) + 1)) and len(used) > 1:
        findings.warn(
            f"labels are 1 to {max(used)}, and class 0 has no image: are they counted from 1? They are taken as "
            "indices from 0",
            where,
            "pass --option labels=names to number the labels that occur, in their order, from 0",
        )
    return numbers, tuple(str(i) for i in range(max(used) + 1)), False


def _ranked(
    names: list[str], numbers: dict[str, int], where: object, findings: Findings
) -> tuple[dict[str, int], tuple[str, ...], bool]:
    values = sorted(set(numbers.values()))
    order = (*map(str, values), *names)
    rank = {name: i for i, name in enumerate(order)}
    tell_alike(names, where, findings)
    return {**{t: rank[str(n)] for t, n in numbers.items()}, **{n: rank[n] for n in names}}, order, True


def tell_alike(names: list[str], where: object, findings: Findings) -> None:
    """Warn of classes that differ from another by upper and lower case, or by the form of their accents, alone."""
    folded: dict[str, str] = {}
    keys = {name: cleaned(name).casefold() for name in names}
    alike = [f"{folded[key]!r} and {name!r}" for name, key in keys.items() if folded.setdefault(key, name) != name]
    if alike:
        findings.warn(
            f"{len(alike)} classes differ from another only by upper and lower case, or the form of an accent: "
            f"{some(alike)}",
            where,
            "they are two classes here; correct the file if they are one",
            len(alike),
        )
