"""Columns of a CSV of boxes by the names that tools give them, its separator, and files without a header."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...disk.textfiles import as_number, csv_lines, shorten
from ...findings import OptionError
from ...schema import DatasetError
from .box_forms import BoxReading
from .predicted import SCORES

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
COLUMNS_OPTION = (
    "CSV without a header line, or with one of other words (it is skipped): what its columns are, in order, joined by "
    "colons, as in image:x0:y0:x1:y1:label (`-` for a column that is not read)"
)
_NAMES = {
    "image": "image filename file filepath path imagepath imagename imageid imagefile img imgname imgpath imgid fname",
    "label": "label class classname classid category categoryname categoryid labelname labelid target name",
    "split": "split subset partition fold",
    "width": "imagewidth imgwidth imgw imagew",
    "height": "imageheight imgheight imgh imageh",
}
_LESS_USUAL = {
    "image": "images picture photo externalid imageurl url",
    "label": "labels classlabel objectclass objectlabel objectname imagelabel tag tags species",
}
"""Taken where none of the usual names is there."""
_IMAGE_IDS = {"imageid", "imgid"}
"""A number in a table of images, where another column is the file's name."""
_ROLE = {word: role for role, words in _NAMES.items() for word in words.split()}
_SECOND_ROLE = {word: role for role, words in _LESS_USUAL.items() for word in words.split()}
# Sides of a box or of the picture: the other columns decide.
_SIDES = (("width", "height"), ("w", "h"))
_BOXES: tuple[tuple[str, tuple[str, str, str, str]], ...] = (
    ("xyxy", ("x0", "y0", "x1", "y1")),
    ("xyxy", ("xmin", "ymin", "xmax", "ymax")),
    ("xyxy", ("x1", "y1", "x2", "y2")),
    ("xyxy", ("left", "top", "right", "bottom")),
    ("xyxy", ("xtl", "ytl", "xbr", "ybr")),
    ("xyxy", ("tlx", "tly", "brx", "bry")),
    ("xyxy", ("topleftx", "toplefty", "bottomrightx", "bottomrighty")),
    ("xyxy", ("minx", "miny", "maxx", "maxy")),
    ("xyxy", ("xstart", "ystart", "xend", "yend")),
    *(
        (form, (f"{x}", f"{y}", w, h))
        for form, points in (
            (
                "cxcywh",
                (("xcenter", "ycenter"), ("xcentre", "ycentre"), ("centerx", "centery"), ("cx", "cy"), ("xc", "yc")),
            ),
            ("xywh", (("x", "y"), ("left", "top"), ("xmin", "ymin"), ("x0", "y0"), ("x1", "y1"))),
        )
        for x, y in points
        for w, h in (*_SIDES, ("boxwidth", "boxheight"))
    ),
)
_PREFIX = re.compile(r"^(bbox|box|bndbox)(?=.)")
_WHOLE_BOX = {"bbox", "bndbox", "box", "boundingbox"}
"""Columns of all four numbers at once, whose order nobody knows."""
_OPEN_IMAGES = {"imageid", "labelname", "xmin"}


@dataclass(frozen=True)
class Columns:
    """Where a CSV's columns are.

    ``place``: of ``image``, ``label``, ``width``, ``height``, ``split``; ``box``: of the four numbers, of the one field
    that holds them all, or empty;
    ``reading``: what the names say of them; ``count``: fields of a record; ``header``: whether the first line is one;
    ``labels``: all columns that say the class, by their names; ``titles``: the names of all.
    """

    place: dict[str, int]
    box: tuple[int, ...]
    reading: BoxReading
    count: int
    separator: str
    header: bool
    labels: dict[str, int] = field(default_factory=dict)
    titles: tuple[str, ...] = ()

    @property
    def unread(self) -> list[int]:
        """The columns that are not read."""
        return sorted(set(range(self.count)) - {*self.place.values(), *self.labels.values(), *self.box})

    @property
    def scores(self) -> int | None:
        """The column that is not read because it says how sure a detector is."""
        return next((i for i in self.unread if self.titles and _PREFIX.sub("", _plain(self.titles[i])) in SCORES), None)


def find_columns(path: Path, named: object = None, *, needs_label: bool = True) -> Columns:
    """The columns of a CSV.

    Args:
        path: The file.
        named: The option ``columns``: the file has no header line, or one whose words are not known.
        needs_label: Whether a column of labels must be there.

    Raises:
        DatasetError: Columns are missing, twice there, or a header is missing and the order of columns is not sure.
        OptionError: ``columns`` does not name what is needed.
    """
    lines = csv_lines(path)
    if lines and lines[0].lstrip().startswith(("{", "[")):
        raise DatasetError(f"{path}: JSON, not CSV; COCO JSON ends in .json, lines of JSON are to be written as CSV")
    first = next((line for line in lines if line.strip()), "")
    if named is not None:
        words = [w.strip() for w in re.split(r"[:, ]+", str(named).strip())]
        separator = max(SEPARATORS, key=first.count)
        found = _assigned(words, separator, header=False)
        missing = _missing(found, needs_label)
        if missing or len(_fields(first, separator)) != len(words):
            what = f"lacks {', '.join(missing)}" if missing else f"names {len(words)} columns"
            raise OptionError(f"folder: columns={named} {what}; the first line of {path.name} is {shorten(first)}")
        return replace(found, header=_is_heading(_fields(first, separator), found))
    tried = [_assigned(_fields(first, s), s, header=True) for s in SEPARATORS]
    best = max(tried, key=lambda c: (len({"image", "label"} & set(c.place)), len(c.place) + len(c.box), c.count))
    words = _fields(first, best.separator)
    if not best.place and (bare := _retinanet(first)) is not None:
        return bare
    _check(path, words, best, needs_label)
    return best


def _is_heading(fields: list[str], columns: Columns) -> bool:
    """Whether a first line names the columns that the user named too: words where there must be numbers."""
    sure = columns.box or [i for role, i in columns.place.items() if role in ("width", "height")]
    return bool(sure) and all(fields[i].strip() and not is_number(fields[i]) for i in sure)


def _fields(line: str, separator: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=separator), [])
    except csv.Error:
        return []


def _plain(word: str) -> str:
    return re.sub(r"[\s_.\-/]", "", word.casefold())


def _assigned(words: Sequence[str], separator: str, *, header: bool) -> Columns:
    """The roles of columns by their names."""
    plain = [_plain(w) for w in words]
    place: dict[str, int] = {}
    for i, word in enumerate(plain):
        if (role := _ROLE.get(word)) and (role not in place or plain[place[role]] in _IMAGE_IDS):
            place[role] = i
    for i, word in enumerate(plain):
        if role := _SECOND_ROLE.get(word):
            place.setdefault(role, i)
    bare = [_PREFIX.sub("", w) for w in plain]
    form, box = _find_box(plain, bare)
    whole = () if box else tuple(i for i, w in enumerate(plain) if w in _WHOLE_BOX)[:1]
    sides = [i for i, w in enumerate(plain) if w in ("width", "height", "w", "h") and i not in box]
    for i in sides:
        place.setdefault("width" if plain[i] in ("width", "w") else "height", i)
    # Only both together are a size.
    if ("width" in place) != ("height" in place):
        place.pop("width", None)
        place.pop("height", None)
    fraction = form == "cxcywh" or set(plain) >= _OPEN_IMAGES
    reading = BoxReading(form, often_fractions=fraction, unknown_form=bool(whole))
    labels = {words[i].strip(): i for i, word in enumerate(plain) if _ROLE.get(word) == "label"}
    if not labels and "label" in place:
        labels = {words[place["label"]].strip(): place["label"]}
    return Columns(place, box or whole, reading, len(words), separator, header, labels, tuple(w.strip() for w in words))


def _find_box(plain: list[str], bare: list[str]) -> tuple[str, tuple[int, ...]]:
    """Form and places of the first four names that are all there; names with a prefix such as ``bbox_`` go first."""
    prefixed = [b if b != p else "" for p, b in zip(plain, bare, strict=True)]
    for names in (prefixed, plain, bare):
        for form, four in _BOXES:
            if all(n in names for n in four):
                return form, tuple(names.index(n) for n in four)
    return "xyxy", ()


def _missing(found: Columns, needs_label: bool) -> list[str]:
    return [c for c in ("image", *(["label"] if needs_label else [])) if c not in found.place]


def _check(path: Path, words: list[str], found: Columns, needs_label: bool) -> None:
    plain = [_plain(w) for w in words]
    roles = [_ROLE.get(w) for w in plain]
    used = {*found.place.values(), *found.box}
    twice = [w for i, w in enumerate(words) if plain.count(plain[i]) > 1 and (i in used or roles[i])]
    missing = _missing(found, needs_label)
    if not found.box:
        bare = [_PREFIX.sub("", p) for p in plain]
        parts = [(four, [n for n in four if n not in bare]) for _, four in _BOXES if "width" not in four]
        four, lost = min(parts, key=lambda pair: len(pair[1]))
        if len(lost) < min(4, len(four)) and len(lost) <= 2:
            missing += lost
    if missing:
        raise DatasetError(
            f"{path}:1: columns {', '.join(missing)} are missing; expected image,label and x0,y0,x1,y1 (optional "
            f"width,height,split) or names that tools use for them, found {', '.join(words) or 'nothing'}; else say "
            "what the columns are, in their order, as in --option columns=image:x0:y0:x1:y1:label"
            + ("; where there are no classes, pass --option labels=none" if missing == ["label"] else "")
        )
    if twice:
        raise DatasetError(f"{path}:1: a column occurs twice: {', '.join(words)}")


def _retinanet(first: str) -> Columns | None:
    """Columns of keras-retinanet's files without a header: path,x1,y1,x2,y2,class, where the class is a word."""
    for separator in SEPARATORS:
        fields = [f.strip() for f in _fields(first, separator)]
        if len(fields) == 6 and fields[0] and (
            not any(fields[1:]) or (all(map(is_number, fields[1:5])) and not is_number(fields[5]) and fields[5])
        ):  # fmt: skip
            place, boxes = {"image": 0, "label": 5}, (1, 2, 3, 4)
            return Columns(place, boxes, BoxReading(), 6, separator, header=False, labels={"label": 5})
    return None


def four_numbers(text: str) -> list[str]:
    """The numbers of a field that holds a whole box: ``[10, 20, 30, 40]``, ``10 20 30 40``; ValueError for another."""
    found = re.split(r"[\s,;]+", text.strip().strip("[](){}").strip())
    if len(found) != 4 or not all(map(is_number, found)):
        raise ValueError(text)
    return found


def is_number(text: str) -> bool:
    """Whether a field is written as a number."""
    try:
        as_number(text)
    except ValueError:
        return False
    return True
