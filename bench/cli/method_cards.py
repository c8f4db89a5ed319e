"""The page of method cards; ``python -m cambench.bench.cli.method_cards docs/methods.md`` writes it."""

from __future__ import annotations

import sys
from pathlib import Path

from ...atomic import write_text
from ...baselines.cams import Card, built_in_cards

INTRODUCTION = """\
# CAM methods

![Six methods on the same birds](images/figure-methods.png)

Written by `python -m cambench.bench.cli.method_cards docs/methods.md`, from the methods' registrations and docstrings.

F is the target feature map of N channels and P×Q cells, G the gradient of the target's logit y with respect to F.
Unless a card says otherwise, a map is relu(Σ_i w_i·F_i), with negative weights w dropped first where the head clamps.
Identities hold after min-max. A cost counts one map alone, with the image's own forward; the methods of one run share
that forward and the head's backward. `cambench time` measures it.
"""


def methods_page() -> str:
    """The page: a table of names and costs, then a card for each built-in method."""
    cards = built_in_cards()
    table = ["| name | method | cost of a map alone | in a glob |", "|:---|:---|:---|:---|"]
    table += [f"| [`{c.name}`](#{_anchor(c)}) | {c.title} | {c.cost.partition(';')[0]} | {_glob(c)} |" for c in cards]
    return "\n".join([INTRODUCTION, *table, "", *(_section(card) for card in cards)])


def _section(card: Card) -> str:
    lines = [f'<a id="{_anchor(card)}"></a>', "", f"## {card.title} (`{card.name}`)", ""]
    for label, text in card.lines():
        lines.append(f"- **{label}:** {f'`{text}`' if label == 'Equation' else _plain(text)}")
    return "\n".join([*lines, ""])


def _glob(card: Card) -> str:
    return "no, name it" if card.by_name else "yes"


def _anchor(card: Card) -> str:
    return "cam-" + card.name.replace("+", "p")


def _plain(text: str) -> str:
    return text.replace("``", "`").replace("*", r"\*").replace("<", "&lt;")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m cambench.bench.cli.method_cards docs/methods.md")
    write_text(Path(sys.argv[1]), methods_page())
