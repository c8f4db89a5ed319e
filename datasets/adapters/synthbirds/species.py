"""Species of synthbirds: four families of three; relatives share everything but the parts named here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

Color = tuple[int, int, int]

RED, GOLD, ORANGE = (214, 34, 40), (250, 200, 36), (238, 122, 26)
WHITE, BLACK, IVORY = (248, 246, 238), (26, 24, 30), (240, 226, 184)
HORN, TEAL = (150, 132, 112), (38, 172, 150)


@dataclass(frozen=True)
class PartState:
    """How one part looks: a shape name the painter knows and its colours."""

    shape: str
    color: Color
    accent: Color | None = None


@dataclass(frozen=True)
class Family:
    """What relatives share: proportions (in body lengths) and plumage; ``base`` holds the default state of parts."""

    name: str
    body: tuple[Color, ...]
    wing_shade: float
    plump: float
    head: float
    tail_length: float
    tail_width: float
    leg: float
    posture: float
    base: Mapping[str, PartState]


@dataclass(frozen=True)
class Species:
    """One class: a family and the parts in which it departs from the family's default."""

    name: str
    family: Family
    own: Mapping[str, PartState] = field(default_factory=dict)

    @property
    def parts(self) -> dict[str, PartState]:
        """State of every part that this species shows."""
        return {**self.family.base, **self.own}


def _family(name: str, base: dict[str, PartState], **shape: object) -> Family:
    return Family(name=name, base=MappingProxyType(base), **shape)  # type: ignore[arg-type]


FINCH = _family(
    "finch",
    {"beak": PartState("cone", HORN), "tail": PartState("square", (96, 66, 50))},
    body=((184, 122, 78), (170, 106, 72), (196, 138, 92)),
    wing_shade=0.62,
    plump=1.18,
    head=0.235,
    tail_length=0.42,
    tail_width=0.15,
    leg=0.2,
    posture=32.0,
)
JAY = _family(
    "jay",
    {"beak": PartState("dagger", (52, 52, 60)), "tail": PartState("square", (34, 62, 128))},
    body=((70, 126, 208), (84, 142, 214), (62, 108, 192)),
    wing_shade=0.66,
    plump=1.0,
    head=0.215,
    tail_length=0.72,
    tail_width=0.15,
    leg=0.22,
    posture=26.0,
)
WARBLER = _family(
    "warbler",
    {"beak": PartState("needle", (58, 54, 48)), "tail": PartState("square", (110, 118, 40))},
    body=((206, 204, 66), (190, 198, 74), (216, 206, 84)),
    wing_shade=0.68,
    plump=0.92,
    head=0.215,
    tail_length=0.46,
    tail_width=0.12,
    leg=0.24,
    posture=20.0,
)
TOUCANET = _family(
    "toucanet",
    {"tail": PartState("square", (40, 40, 50))},
    body=((72, 70, 84), (84, 78, 88), (62, 66, 78)),
    wing_shade=0.7,
    plump=1.04,
    head=0.235,
    tail_length=0.58,
    tail_width=0.14,
    leg=0.16,
    posture=40.0,
)

FAMILIES = (FINCH, JAY, WARBLER, TOUCANET)

SPECIES = (
    Species("red-capped finch", FINCH, {"cap": PartState("cap", RED)}),
    Species("bar-winged finch", FINCH, {"wing_bars": PartState("bars", WHITE)}),
    Species("black-masked finch", FINCH, {"face": PartState("mask", BLACK)}),
    Species("plumed jay", JAY, {"crest": PartState("spikes", (24, 34, 84), GOLD)}),
    Species("orange-bellied jay", JAY, {"belly": PartState("belly", ORANGE)}),
    Species("collared jay", JAY, {"collar": PartState("collar", WHITE, BLACK)}),
    Species("sickle-billed warbler", WARBLER, {"beak": PartState("sickle", (222, 66, 34))}),
    Species("fork-tailed warbler", WARBLER, {"tail": PartState("fork", (30, 30, 38), WHITE)}),
    Species(
        "spectacled warbler", WARBLER,
        {"eye_ring": PartState("ring", WHITE, BLACK), "wing_bars": PartState("patch", (196, 40, 52))},
    ),
    Species("gold-billed toucanet", TOUCANET, {"beak": PartState("great", GOLD, BLACK)}),
    Species(
        "scarlet-billed toucanet", TOUCANET,
        {"beak": PartState("great", RED, IVORY), "throat": PartState("throat", WHITE)},
    ),
    Species(
        "casqued toucanet", TOUCANET,
        {"beak": PartState("great", TEAL, IVORY), "casque": PartState("casque", ORANGE)},
    ),
)  # fmt: skip

CLASS_NAMES = tuple(s.name for s in SPECIES)


def relatives(species: Species) -> tuple[Species, ...]:
    """The other species of the same family."""
    return tuple(s for s in SPECIES if s.family is species.family and s is not species)


def evidence_parts(species: Species) -> frozenset[str]:
    """Parts whose state no relative shares: what tells the species from its nearest relatives."""
    others = [r.parts for r in relatives(species)]
    return frozenset(p for p, state in species.parts.items() if all(o.get(p) != state for o in others))
