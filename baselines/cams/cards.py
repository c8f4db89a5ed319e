"""Method cards: what a CAM method is, in words that come from its registration and its docstring alone."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass

from .method import CAMS, CamMethod, Need

NEEDS: dict[Need, str] = {
    "features": "the target feature map F",
    "gradients": "the head's gradient G of the target's logit",
    "head_gradients": "gradients of its own through the head",
    "class_weights": "the class weights of a GAP + linear or TAP + linear head",
    "rescoring": "scores of modified features or images",
    "images": "the normalised image",
    "layers": "feature maps of several layers",
    "input_gradients": "gradients with respect to the image",
    "attention": "attention matrices",
}
RETURNS = {
    "weights": "channel weights; clamp, weighted sum, ReLU and min-max are the head's and the protocol's",
    "map": "a finished signed map; ReLU and min-max are the protocol's",
    "mask": "a finished mask in [0, 1], only resized",
}


@dataclass(frozen=True)
class Card:
    """A method's card; every part is plain text.

    Attributes:
        name, title, source: As registered. equation: First line of the docstring.
        notes: Its other paragraphs. needs, returns, heads, cost: In words.
        identities: What its map is known to equal, and when.
        by_name: Left out by a glob.
    """

    name: str
    title: str
    source: str
    equation: str
    notes: tuple[str, ...]
    needs: str
    returns: str
    heads: str
    identities: tuple[str, ...]
    cost: str
    by_name: bool

    def lines(self) -> list[tuple[str, str]]:
        """Label and text of each part that the card has, in order."""
        parts = [
            ("Source", self.source),
            ("Equation", self.equation),
            ("Needs", self.needs),
            ("Returns", self.returns),
            ("Heads", self.heads),
            ("Known identities", "; ".join(self.identities)),
            ("Cost of a map alone", self.cost + ("; named only: a glob leaves it out" if self.by_name else "")),
            ("Notes", " ".join(self.notes)),
        ]
        return [(label, text) for label, text in parts if text]


def method_card(method: CamMethod) -> Card:
    """The card of a registered method."""
    paragraphs = [
        " ".join(p.split()) for p in inspect.cleandoc(method.fn.__doc__ or "").split("\n\n") if not _section(p)
    ]
    needs = [NEEDS[need] for need in NEEDS if need in method.needs]
    cost = method.declared_cost or "not declared"
    return Card(
        name=method.name,
        title=method.title,
        source=method.source,
        equation=paragraphs[0] if paragraphs else "not stated",
        notes=tuple(paragraphs[1:]),
        needs=", ".join(needs) or "nothing but the image's id and size",
        returns=RETURNS[method.returns],
        heads=_heads(method),
        identities=tuple(_identities(method)),
        cost=cost,
        by_name=method.by_name,
    )


def built_in_cards() -> list[Card]:
    """Cards of the methods that cambench itself registers, by name; plug-ins are left out."""
    methods = (CAMS.get(name) for name in CAMS.names())
    package = __name__.split(".", maxsplit=1)[0]
    return [method_card(m) for m in methods if m.fn.__module__.split(".", maxsplit=1)[0] == package]


def _section(paragraph: str) -> bool:
    return re.match(r"(Args|Raises|Returns|Yields|Attributes|Example\w*):", paragraph) is not None


def _heads(method: CamMethod) -> str:
    own: tuple[str, ...] = getattr(method, "heads", ())
    if own:
        return ", ".join(own)
    if method.headless:
        return "none: the map depends on no head, and is listed once, under softmax"
    if method.returns != "weights":
        return "softmax and sigmoid; without channel weights the clamp changes nothing"
    if method.nonnegative_always:
        return "softmax and sigmoid; its weights are never negative, so the clamp changes nothing"
    if method.nonnegative_weights:
        return "softmax and sigmoid; where F ≥ 0 its weights are never negative, and the clamp changes nothing"
    if "class_weights" in method.needs:
        return "softmax and sigmoid, clamp on and off; GAP + linear and TAP + linear only"
    return "softmax and sigmoid, clamp on and off"


def _identities(method: CamMethod) -> list[str]:
    found = [identity.words(_title(identity.equals)) for identity in method.identities]
    if method.gap_linear_unclamped:
        found.append("the clamp changes nothing on a GAP + linear head with F ≥ 0")
    return found


def _title(name: str) -> str:
    return CAMS.get(name).title if name in CAMS else name
