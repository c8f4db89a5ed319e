"""``cambench factorial``: head × clamp × sign rule × resize on one checkpoint, in one table with main effects.

The published tables change head and clamp together; here every factor is changed alone, over the same images, so that a
gain has an owner. A main effect is the mean score of the triples at one level minus that at the factor's first level.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from ..atomic import write_text
from ..protocol import PROTOCOLS, MapRule, Protocol
from ..results.bootstrap import Bootstrap, Entry, bootstrap
from ..results.grid import Cell, Document, Grid, to_csv, to_latex_document, to_markdown
from ..results.intervals import RESAMPLES, bootstrap_interval
from ..results.load import Run
from .config import RunConfig
from .errors import RunError, UsageError
from .prepare import safe_name
from .run import run

FACTORS: dict[str, tuple[str, ...]] = {
    "head": ("softmax", "sigmoid"),
    "clamp": ("off", "on"),
    "sign": ("signed", "relu"),
    "resize": ("bicubic", "bilinear", "bilinear-lowres"),
}
"""Factors and their levels; the first level is the one that effects are measured from."""
HEADS = {
    ("softmax", "off"): "softmax",
    ("softmax", "on"): "softmax_clamped",
    ("sigmoid", "off"): "sigmoid_signed",
    ("sigmoid", "on"): "sigmoid",
}
Levels = tuple[str, ...]


@dataclass(frozen=True)
class Effect:
    """Main effect of one level against the factor's first: metric -> (points, low, high) of its 95 % interval."""

    factor: str
    level: str
    values: dict[str, tuple[float, float, float]]


def map_rule(sign: str, resize: str) -> MapRule:
    """The protocol's map rule for a level of ``sign`` and of ``resize``."""
    kernel = resize.removesuffix("-lowres")
    return MapRule.model_validate({"sign": sign, "kernel": kernel, "low_res_min_max": resize.endswith("-lowres")})


def factorial(
    *,
    dataset: str,
    backbone: str,
    cam: str,
    out: Path,
    protocol: str = "paper",
    resamples: int = RESAMPLES,
    say: Callable[[str], None] = lambda _: None,
    **fields: Any,
) -> list[Path]:
    """Run every combination and write ``factorial.md``, ``.tex`` and ``.csv`` to ``out``; returns their paths.

    Continues where an earlier call stopped. The sigmoid branch is trained once, in the first run.

    Args:
        dataset: Data set. backbone: Network. cam: CAM method.
        out: Folder of the tables and of one run folder a map rule.
        protocol: Where everything but the map rule comes from; its exceptions for single methods are dropped.
        resamples: Of the image bootstrap. say: Told each run before it starts.
        **fields: Further fields of ``RunConfig``.

    Raises:
        UsageError: A triple that is impossible on the network, or a field that ``factorial`` decides itself.
    """
    wrong = {"triples", "protocol", "out"} & set(fields)
    if wrong:
        raise UsageError(f"factorial decides {', '.join(sorted(wrong))} itself")
    base = PROTOCOLS.get(protocol)
    entries = list[Entry]()
    given = dict(fields.pop("head_weights", None) or {})
    for sign, resize in product(FACTORS["sign"], FACTORS["resize"]):
        folder = out / f"{sign}-{resize}"
        say(f"{backbone}/{cam}: {sign} map, {resize}")
        result = run(
            RunConfig.create(
                dataset=dataset,
                triples=tuple(f"{backbone}/{cam}/{head}" for head in HEADS.values()),
                protocol=_derived(base, sign, resize),
                out=folder,
                head_weights=given,
                **fields,
            )
        )
        if entries and _branches(result.run) != _branches(entries[0].run):
            raise RunError(
                f"{folder} was run with other head parameters than {entries[0].run.out}; train the network with "
                "`cambench train` first and give its weights"
            )
        trained = folder / "heads" / f"{safe_name(backbone)}.sigmoid.safetensors"
        if not given and trained.is_file():
            given = {backbone: trained}
        entries += [
            Entry("|".join((*key, sign, resize)), result.run, f"{backbone}/{cam}/{head}") for key, head in HEADS.items()
        ]
    boot = bootstrap(entries, resamples=resamples)
    return _write(boot, f"{backbone}/{cam} on {dataset}", protocol, out)


def main_effects(boot: Bootstrap, metrics: Sequence[str]) -> list[Effect]:
    """Main effect of every level but the first of every factor, with paired bootstrap intervals."""
    effects = []
    for position, (factor, levels) in enumerate(FACTORS.items()):
        for level in levels[1:]:
            values = {}
            for metric in metrics:
                there, here = (
                    [e for e in boot.entries if e.split("|")[position] == wanted] for wanted in (level, levels[0])
                )
                point = float(
                    np.mean([boot.points[e][metric] for e in there]) - np.mean([boot.points[e][metric] for e in here])
                )
                samples = np.mean([boot.samples[e][metric] for e in there], 0) - np.mean(
                    [boot.samples[e][metric] for e in here], 0
                )
                interval = bootstrap_interval(samples, point)
                values[metric] = (point, interval.low, interval.high)
            effects.append(Effect(factor, level, values))
    return effects


def _branches(run: Run) -> dict[str, str]:
    """Hash of the parameters of every branch."""
    return {f"{n}.{b}": branch.sha256 for n, r in run.manifest.backbones.items() for b, branch in r.branches.items()}


def _derived(base: Protocol, sign: str, resize: str) -> str:
    """Registers the protocol with another map rule for every method; returns its name."""
    name = f"{base.name}+{sign}+{resize}"
    fields = {"name": name, "map_rule": map_rule(sign, resize), "map_overrides": {}, "clamp_exempt": ()}
    PROTOCOLS.add(name, base.model_copy(update=fields), origin=__name__)
    return name


def _write(boot: Bootstrap, title: str, protocol: str, out: Path) -> list[Path]:
    metrics = [m for m in boot.metrics if m.ranked and not m.per_backbone]
    names = [m.name for m in metrics]
    heads = tuple(f"{m.title} {m.arrow}" for m in metrics)
    best = {m.name: _best([boot.points[e][m.name] for e in boot.entries], m.higher_is_better) for m in metrics}
    rows = [
        (
            *(Cell(level) for level in entry.split("|")),
            *(
                Cell(f"{boot.points[entry][n]:.2f}", bold=round(boot.points[entry][n], 2) == round(best[n], 2))
                for n in names
            ),
        )
        for entry in sorted(boot.entries, key=_order)
    ]
    effects = main_effects(boot, names)
    lines = [
        (
            Cell(effect.factor),
            Cell(f"{effect.level} − {FACTORS[effect.factor][0]}"),
            *(Cell(f"{p:+.2f} [{low:+.2f}, {high:+.2f}]") for p, low, high in effect.values.values()),
        )
        for effect in effects
    ]
    document = Document(
        f"Factorial of {title}",
        [
            Grid("Every combination", (*FACTORS, *heads), rows),
            Grid("Main effects in points, 95 % intervals", ("Factor", "Levels", *heads), lines),
        ],
        facts=[("Protocol", f"{protocol}, map rule aside"), ("Images", f"{boot.plan.images:,}")],
        notes=["A main effect is the mean over all combinations with the one level minus that with the other."],
    )
    table = to_csv((*FACTORS, *names), [(*e.split("|"), *(boot.points[e][n] for n in names)) for e in boot.entries])
    texts = {"md": to_markdown(document), "tex": to_latex_document([document]), "csv": table}
    for suffix, text in texts.items():
        write_text(out / f"factorial.{suffix}", text)
    return [out / f"factorial.{suffix}" for suffix in texts]


def _order(entry: str) -> list[int]:
    return [levels.index(v) for levels, v in zip(FACTORS.values(), entry.split("|"), strict=True)]


def _best(values: list[float], higher: bool) -> float:
    return max(values) if higher else min(values)
