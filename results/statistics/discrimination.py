"""Whether a metric tells methods from controls on this data: a control that no method beats."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ...triple import Triple
from ..scores.shown import Metric
from ..scores.val_run import val_triple
from .bootstrap import Bootstrap, Entry
from .intervals import FEW_IMAGES, bootstrap_interval
from .paired import ALPHA
from .ranks import victories

_MASKED = "masking by a map that covers much of the image keeps the class score, whatever the map shows"
_PLACED = "an object is found on these images without looking for it (it is large, or in the middle)"
REASONS = {
    ("average_drop", "uniform"): "a map that hides nothing loses no confidence",
    **dict.fromkeys((("average_drop", ""), ("average_gain", ""), ("increase_in_confidence", "")), _MASKED),
    **dict.fromkeys(
        ((n, "") for n in ("gt_known_loc", "top1_loc", "max_box_acc", "max_box_acc_v2", "pxap", "pointing_game")),
        _PLACED,
    ),
}
"""Why a control may do well in a metric, by metric and control; the control is empty where the reason holds for all."""
CONTROL = "control: "
"""Beginning of the names of entries that a comparison adds for its controls."""
CLOSE = 0.8
"""Share of the better score that the worse one reaches where a control does nearly as well as a method."""
OTHERWISE = "so a good value says nothing about where a map looks"


@dataclass(frozen=True)
class Unbeaten:
    """A control than which no method is significantly better in a metric: the metric does not discriminate.

    Attributes:
        metric: Which. control: The entry of the control with the best score of those that are not beaten.
        triple: The control's triple.
        best: The entry of the method with the best score. images: Number of images.
        control_score, best_score: Their scores, in the metric's unit.
        leads: The interval of their difference, looked at alone, is on the method's side.
    """

    metric: Metric
    control: str
    triple: Triple
    best: str
    control_score: float
    best_score: float
    images: int
    leads: bool = False

    @property
    def too_few(self) -> bool:
        """The methods' best is better than the control, on too few images for the corrected test to tell.

        So it is where the control is not close to it, or the difference looked at alone is significant: no reason why
        the control does well is due then, as on more images it may well be beaten.
        """
        worse, better = self.control_score, self.best_score
        if not self.metric.higher_is_better:
            worse, better = better, worse
        return worse < better and (self.leads or self.images < FEW_IMAGES or worse < CLOSE * better)

    def sentence(self, control: str, best: str, of: str = "the best method") -> str:
        """What a reader must know, with the titles of both.

        Args:
            control: Title of the control. best: Title of the method. of: What the method is the best of.
        """
        scores = f"({best}, {self._digits(self.best_score)}"
        return self._said(f"{control} ({self._digits(self.control_score)})", scores, of)

    def sentence_with(self, control: str, networks: Sequence[tuple[str, str, Unbeaten]]) -> str:
        """``sentence`` of several networks in which the same control is not beaten, this one among them.

        Args:
            control: Title of the control. networks: Title of a network, title of its best method, and its finding.
        """
        each = [
            f"{where}: {one._digits(one.control_score)} beside {best}, {one._digits(one.best_score)}"
            for where, best, one in networks
        ]
        return self._said(control, f"({'; '.join(each)}", "the best method")

    def _digits(self, score: float) -> str:
        return f"{score:.{self.metric.digits}f}"

    def _said(self, control: str, scores: str, of: str) -> str:
        if self.too_few:
            return (
                f"{self.metric.title}: {self.images} images are too few to tell the methods from a control: {control} "
                f"is not significantly worse than {of} {scores})."
            )
        why = REASONS.get((self.metric.name, self.triple.cam)) or REASONS.get((self.metric.name, "")) or OTHERWISE
        return (
            f"{self.metric.title} does not discriminate on this data: {control}, a control, is not significantly "
            f"worse than {of} {scores}; {self.images} images): {why}."
        )


def unbeaten_control(
    boot: Bootstrap,
    metric: Metric,
    controls: Mapping[str, Triple],
    methods: Collection[str],
    won: Collection[tuple[str, str]],
) -> Unbeaten | None:
    """The best control that no method is significantly better than; None where every control is beaten.

    Args:
        boot: Scores. metric: A ranked metric. controls: Entry of a control -> its triple.
        methods: Entries of the methods.
        won: Pairs (winner, loser) whose difference is significant, as ``victories`` gives them.
    """
    sign = 1 if metric.higher_is_better else -1

    def score(entry: str) -> float:
        return sign * boot.points[entry][metric.name]

    competing = [m for m in methods if metric.name in boot.points[m]]
    losers = {loser for winner, loser in won if winner in competing}
    left = [c for c in controls if metric.name in boot.points[c] and c not in losers]
    if not left or not competing:
        return None
    control, best = max(left, key=score), max(competing, key=score)
    points = boot.points
    lead = bootstrap_interval(
        sign * (boot.samples[best][metric.name] - boot.samples[control][metric.name]), score(best) - score(control)
    )
    return Unbeaten(
        *(metric, control, controls[control], best),
        *(points[control][metric.name], points[best][metric.name], boot.plan.images, lead.low > 0),
    )


def control_entries(entries: Sequence[Entry]) -> list[Entry]:
    """Entries of the controls that the runs of ``entries`` have for their networks, each once."""
    found: dict[tuple[str, str], Entry] = {}
    for entry in entries:
        run, backbone = entry.run, Triple.parse(entry.triple).backbone
        for triple in run.triples:
            if triple.backbone != backbone or not run.manifest.is_control(triple.cam):
                continue
            if entry.val is not None and not val_triple(run, entry.val, triple):
                continue
            key = str(run.out), run.manifest.canonical(triple)
            found.setdefault(key, Entry(f"{CONTROL}{triple} in {run.out}", run, triple, entry.val))
    return list(found.values())


def unbeaten_among(
    boot: Bootstrap,
    first: str,
    second: str,
    entries: Mapping[str, Entry],
    controls: Sequence[Entry],
    alpha: float = ALPHA,
) -> dict[str, Unbeaten]:
    """Metric -> the control than which neither of two entries is significantly better; others are absent.

    Holm's correction is over the pairs of a metric, as for the ranks of a table.

    Args:
        boot: Scores of the entries and of the controls. first, second: What is compared.
        entries: Entries by name. controls: As ``control_entries`` gives them. alpha: Significance level.
    """
    both = [entries[name] for name in dict.fromkeys((first, second))]
    methods = [e.name for e in both if not e.run.manifest.is_control(Triple.parse(e.triple).cam)]
    networks = {(str(e.run.out), Triple.parse(e.triple).backbone) for e in both}
    triples = {c.name: (str(c.run.out), Triple.parse(c.triple)) for c in controls}
    own = {name: triple for name, (out, triple) in triples.items() if (out, triple.backbone) in networks}
    found = {}
    for metric in boot.metrics:
        if not metric.ranked or metric.per_backbone or not methods or not own:
            continue
        won = victories(boot, metric.name, [*methods, *own], alpha=alpha)
        unbeaten = unbeaten_control(boot, metric, own, methods, won)
        if unbeaten is not None:
            found[metric.name] = unbeaten
    return found
