"""The painter of synthbirds: a bird of a species in a pose, as a list of filled shapes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .pen import Points, Shape, Wing, capsule, ellipse, rotate, smooth, tint
from .species import Color, PartState, Species


@dataclass(frozen=True)
class Pose:
    """Nuisance of one bird, drawn from the same distribution for every species. Angles in degrees."""

    flying: bool
    tilt: float
    head_turn: float
    tail_lift: float
    wing_lift: float
    plump: float
    color: int
    warmth: tuple[float, float, float]


def draw_pose(rng: np.random.Generator) -> Pose:
    """A random pose; consumes the same number of draws whatever it yields."""
    flying = bool(rng.random() < 0.16)
    tilt, turn, lift = rng.normal(0, 9), rng.uniform(-24, 22), rng.uniform(-14, 12)
    wing, plump, color = rng.uniform(-12, 28), rng.uniform(0.92, 1.08), int(rng.integers(3))
    warmth = rng.uniform(0.9, 1.1, 3)
    return Pose(
        flying, float(np.clip(tilt, -20, 20)), float(turn), float(lift), float(wing), float(plump), color,
        (float(warmth[0]), float(warmth[1]), float(warmth[2])),
    )  # fmt: skip


class Painter:
    """Collects the shapes of one bird that looks right, in body lengths, y up."""

    def __init__(self, species: Species, pose: Pose) -> None:
        self.family, self.pose, self.parts = species.family, pose, species.parts
        base = species.family.body[pose.color]
        red, green, blue = (int(np.clip(c * w, 0, 255)) for c, w in zip(base, pose.warmth, strict=True))
        self.body: Color = (red, green, blue)
        self.wing = tint(self.body, species.family.wing_shade)
        self.pale = tint(self.body, 1.28)
        self.plump = species.family.plump * pose.plump
        self.radius = species.family.head
        self.head_at = (0.41, 0.27)
        self.neck_at = (0.3, 0.12)
        # A perched bird holds its head level whatever the slope of its body.
        self.nod = pose.head_turn - (0.0 if pose.flying else 0.55 * (species.family.posture + pose.tilt))
        self.shapes: list[Shape] = []

    def paint(self) -> list[Shape]:
        """All shapes, back to front, turned by the posture."""
        flying = self.pose.flying
        if flying:
            self._raised_wing(far=True)
        else:
            self._legs()
        self._tail()
        self._crest()
        self._trunk()
        self._head()
        if flying:
            self._raised_wing(far=False)
        else:
            self._folded_wing()
        angle = (4.0 if flying else self.family.posture) + self.pose.tilt
        return [s if s.part == "legs" else Shape(rotate(s.points, angle), s.color, s.part) for s in self.shapes]

    def _add(self, points: Points, color: Color, part: str | None = None) -> None:
        self.shapes.append(Shape(np.asarray(points, dtype=np.float64), color, part))

    def _add_head(self, points: Points, color: Color, part: str | None = None) -> None:
        self._add(rotate(points, self.nod, self.neck_at), color, part)

    def _legs(self) -> None:
        color = (92, 74, 60)
        foot = -0.25 * self.plump - self.family.leg
        for x in (-0.09, 0.05):
            self.shapes.append(Shape(capsule((x, -0.1), 0.024, (x + 0.03, foot), 0.017), color, "legs"))
            for dx in (0.1, 0.05, -0.06):
                toe = capsule((x + 0.03, foot), 0.017, (x + 0.03 + dx, foot - 0.025), 0.011)
                self.shapes.append(Shape(toe, color, "legs"))

    def _tail(self) -> None:
        state, length, width = self.parts["tail"], self.family.tail_length, self.family.tail_width
        root, turn = (-0.42, 0.03), self.pose.tail_lift

        def add(points: object, color: Color) -> None:
            self._add(rotate(np.asarray(points, dtype=np.float64), turn, root), color, "tail")

        if state.shape == "fork":
            long, tip = length * 1.85, state.accent or state.color
            for side in (1, -1):
                end, mid = (-0.42 - long, 0.02 + side * 0.27), (-0.42 - long * 0.55, 0.02 + side * 0.2)
                inner = (-0.42 - long * 0.42, 0.02 + side * 0.03)
                add([(-0.3, 0.03 + side * 0.085), mid, end, inner, (-0.3, 0.02)], state.color)
                near, far = np.asarray(mid) * 0.45 + np.asarray(end) * 0.55, np.asarray(inner) * 0.45
                add([near, end, far + np.asarray(end) * 0.55], tip)
            return
        x = -0.42 - length
        add([(-0.3, 0.1), (x, width), (x - 0.03, 0.0), (x, -width * 0.72), (-0.3, -0.05)], state.color)
        for k in (-0.42, 0.06, 0.54):
            line = [(-0.4, 0.02 + 0.05 * k), (x, width * k - 0.008), (x, width * k + 0.014)]
            add(line, tint(state.color, 0.72))

    def _crest(self) -> None:
        state = self.parts.get("crest")
        if state is None:
            return
        (hx, hy), r = self.head_at, self.radius
        for k, (angle, length) in enumerate(((168, 0.3), (150, 0.42), (130, 0.46), (110, 0.36))):
            a = np.deg2rad(angle)
            tip = np.array([hx + (r * 0.7 + length) * np.cos(a), hy + (r * 0.7 + length) * np.sin(a)])
            left = np.array([hx + r * 1.08 * np.cos(a + 0.4), hy + r * 1.08 * np.sin(a + 0.4)])
            right = np.array([hx + r * 1.08 * np.cos(a - 0.4), hy + r * 1.08 * np.sin(a - 0.4)])
            core = np.array([hx, hy])
            self._add_head(np.stack([core, left, tip, right]), tint(state.color, 1.0 + 0.06 * k), "crest")
            cap = [tip, tip * 0.5 + left * 0.5, tip * 0.5 + right * 0.5]
            self._add_head(np.stack(cap), state.accent or state.color, "crest")

    def _trunk(self) -> None:
        p = self.plump
        outline = smooth(
            [
                (0.43, 0.06), (0.36, -0.13 * p), (0.16, -0.26 * p), (-0.12, -0.26 * p), (-0.36, -0.11 * p),
                (-0.5, 0.02), (-0.36, 0.12), (-0.06, 0.2 * p), (0.26, 0.25 * p),
            ]
        )  # fmt: skip
        head = rotate(np.asarray([self.head_at]), self.nod, self.neck_at)[0]
        self._add(capsule((0.2, 0.02), 0.22 * p, (head[0], head[1]), self.radius * 0.92), self.body)
        self._add(outline, self.body)
        pale = smooth(
            [
                (0.4, 0.02),
                (0.34, -0.12 * p),
                (0.15, -0.245 * p),
                (-0.12, -0.24 * p),
                (-0.34, -0.1 * p),
                (0.08, -0.1 * p),
            ]
        )
        belly, collar = self.parts.get("belly"), self.parts.get("collar")
        self._add(pale, self.pale)
        if belly is not None:
            wide = [
                (0.42, 0.05), (0.36, -0.125 * p), (0.16, -0.255 * p), (-0.12, -0.255 * p), (-0.36, -0.11 * p),
                (-0.2, 0.0), (0.15, 0.06),
            ]  # fmt: skip
            self._add(smooth(wide), belly.color, "belly")
        if collar is not None:
            self._collar(collar, head)

    def _collar(self, state: PartState, head: Points) -> None:
        """Two bands across the neck, square to the line from trunk to head."""
        base = np.array([0.18, 0.02])
        axis = (head - base) / np.hypot(*(head - base))
        across = np.array([-axis[1], axis[0]])
        for start, stop, color in ((-0.11, 0.115, state.color), (-0.17, -0.1, state.accent or state.color)):
            reach = self.radius * 0.9
            at = head - axis * self.radius * 0.62
            low, high = at + axis * start, at + axis * stop
            left = [low + across * (reach + 0.02), high + across * reach * 0.93]
            right = [high - across * reach * 0.93, low - across * (reach + 0.035)]
            self._add(np.stack(left + right), color, "collar")

    def _head(self) -> None:
        (hx, hy), r = self.head_at, self.radius
        self._beak()
        self._add_head(ellipse(hx, hy, r, r * 0.96), self.body)
        throat, cap, face = (self.parts.get(k) for k in ("throat", "cap", "face"))
        if throat is not None:
            bib = [
                (hx + r * 0.97, hy - r * 0.2), (hx + r * 0.2, hy - r * 0.1), (hx - r * 0.45, hy - r * 0.75),
                (hx - r * 0.35, hy - r * 1.7), (hx + r * 0.4, hy - r * 1.55), (hx + r * 0.85, hy - r * 0.75),
            ]  # fmt: skip
            self._add_head(smooth(bib), throat.color, "throat")
        if cap is not None:
            arc = np.deg2rad(np.linspace(-2, 196, 22))
            top = np.stack([hx + r * 1.05 * np.cos(arc), hy + r * 1.06 * np.sin(arc)], axis=1)
            brow = np.array([(hx - r * 0.4, hy + r * 0.1), (hx + r * 0.4, hy + r * 0.2)])
            self._add_head(np.concatenate([top, brow]), cap.color, "cap")
        if face is not None:
            mask = [(hx + r * 1.02, hy + r * 0.26), (hx + r * 0.3, hy + r * 0.46), (hx - r * 0.6, hy + r * 0.3),
                    (hx - r * 0.85, hy - r * 0.1), (hx - r * 0.2, hy - r * 0.55), (hx + r * 0.3, hy - r * 0.95),
                    (hx + r * 0.9, hy - r * 0.5)]  # fmt: skip
            self._add_head(smooth(mask), face.color, "face")
        self._eye()

    def _eye(self) -> None:
        (hx, hy), r = self.head_at, self.radius
        x, y, ring = hx + r * 0.34, hy + r * 0.14, self.parts.get("eye_ring")
        if ring is not None:
            self._add_head(ellipse(x - r * 0.05, y, r * 0.62), ring.accent or ring.color, "eye_ring")
            self._add_head(ellipse(x - r * 0.05, y, r * 0.5), ring.color, "eye_ring")
        self._add_head(ellipse(x, y, r * 0.25), tint(self.body, 0.55))
        self._add_head(ellipse(x, y, r * 0.2), (14, 12, 16))
        self._add_head(ellipse(x + r * 0.07, y + r * 0.08, r * 0.07), (250, 250, 250))

    def _beak(self) -> None:
        state, (hx, hy), r = self.parts["beak"], self.head_at, self.radius
        x = hx + r * 0.74
        if state.shape in ("cone", "dagger", "needle"):
            length, deep = {"cone": (0.2, 0.1), "dagger": (0.29, 0.062), "needle": (0.24, 0.04)}[state.shape]
            end = (x + 0.05 + length, hy - r * 0.16)
            upper = np.array([(x, hy + deep), (x + length * 0.55, hy + deep * 0.55), end, (x, hy - r * 0.12)])
            lower = np.array([(x, hy - r * 0.12), end, (x + length * 0.5, hy - deep * 0.9), (x, hy - deep * 1.15)])
            self._add_head(upper, state.color, "beak")
            self._add_head(lower, tint(state.color, 0.74), "beak")
            return
        if state.shape == "sickle":
            t = np.linspace(0, 1, 12)
            mid = np.stack([x + 0.62 * t, hy + 0.02 + 0.1 * t - 0.36 * t**2], axis=1)
            half = np.stack([0.02 * t, 0.068 * (1 - t) + 0.01], axis=1)
            self._add_head(np.concatenate([mid + half, (mid - half)[::-1]]), state.color, "beak")
            return
        top = [(x - 0.03, hy + 0.17), (x + 0.22, hy + 0.17), (x + 0.44, hy + 0.06), (x + 0.5, hy - 0.12),
               (x + 0.4, hy - 0.05), (x + 0.2, hy - 0.03), (x - 0.03, hy - 0.03)]  # fmt: skip
        low = [
            (x - 0.03, hy - 0.01),
            (x + 0.22, hy - 0.02),
            (x + 0.42, hy - 0.07),
            (x + 0.22, hy - 0.13),
            (x - 0.03, hy - 0.15),
        ]
        casque = self.parts.get("casque")
        if casque is not None:
            horn = [
                (x - 0.12, hy + 0.12),
                (x - 0.1, hy + 0.3),
                (x + 0.08, hy + 0.37),
                (x + 0.28, hy + 0.28),
                (x + 0.24, hy + 0.12),
            ]
            self._add_head(smooth(horn), casque.color, "casque")
        self._add_head(smooth(low), tint(state.color, 0.8), "beak")
        self._add_head(smooth(top), state.color, "beak")
        tip = [
            (x + 0.36, hy + 0.11),
            (x + 0.45, hy + 0.05),
            (x + 0.5, hy - 0.12),
            (x + 0.4, hy - 0.05),
            (x + 0.33, hy - 0.02),
        ]
        self._add_head(smooth(tip), state.accent or state.color, "beak")

    def _feathers(self, wing: Wing, lines: tuple[float, ...]) -> None:
        """Thin dark lines along a wing."""
        u = np.linspace(0.3, 0.97, 8)
        for v in lines:
            upper, lower = wing.at(u, v), wing.at(u, v + 0.035)
            self._add(np.concatenate([upper, lower[::-1]]), tint(self.wing, 0.74))

    def _marks(self, wing: Wing) -> None:
        """Wing bars or patch, in the wing's own coordinates."""
        state = self.parts.get("wing_bars")
        if state is None:
            return
        spans = ((0.2, 0.33), (0.46, 0.59)) if state.shape == "bars" else ((0.18, 0.56),)
        v = np.linspace(0.03, 0.97, 9)
        lean = 0.1 * (v - 0.5) + 0.05 * np.sin(np.pi * v)
        for u0, u1 in spans:
            near, far = wing.at(u0 + lean, v), wing.at(u1 + lean, v)
            self._add(np.concatenate([near, far[::-1]]), state.color, "wing_bars")

    def _folded_wing(self) -> None:
        p, drop = self.plump, -4.0 + 0.25 * self.pose.wing_lift
        upper = [(0.25, 0.06), (0.13, 0.19 * p), (-0.12, 0.165 * p), (-0.4, 0.08), (-0.66, -0.01)]
        lower = [(0.25, 0.05), (0.17, -0.11 * p), (-0.08, -0.17 * p), (-0.36, -0.1), (-0.66, -0.03)]
        wing = Wing(upper, lower, drop, (0.2, 0.08))
        self._add(wing.outline(), self.wing)
        self._feathers(wing, (0.28, 0.5, 0.72))
        self._marks(wing)

    def _raised_wing(self, far: bool) -> None:
        lift = self.pose.wing_lift + (22 if far else 0)
        lead = [(0.26, 0.12), (0.34, 0.42), (0.24, 0.72), (0.02, 0.98), (-0.26, 1.14)]
        trail = [(-0.2, 0.08), (-0.3, 0.32), (-0.38, 0.56), (-0.42, 0.8), (-0.38, 1.08)]
        wing = Wing(lead, trail, lift, (0.05, 0.1))
        if far:
            self._add(wing.outline(), tint(self.wing, 0.78))
            return
        self._add(wing.outline(), self.wing)
        self._feathers(wing, (0.3, 0.5, 0.7, 0.86))
        self._marks(wing)
