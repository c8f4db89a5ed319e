"""``cambench factorial``: head × clamp × map rule (sign, resize) on one checkpoint, as one command and one table.

The published tables change head and clamp together; here every factor is changed alone, over the same images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path

from ...atomic import write_text
from ...protocol import PROTOCOLS, MapRule, Protocol
from ...results.records.load import Run
from ...results.statistics import Bootstrap, Entry, bootstrap
from ...results.tables.grid import Document, to_csv, to_markdown
from ...results.tables.latex import to_latex_document
from ...triple import file_name
from ..engine.planning.config import RunConfig
from ..host.errors import RunError
from ..host.options import DataOptions, DeviceOptions, PaceOptions, PluginOptions, WeightsOptions
from ..notebook.runs import run
from ..stored.rescore import rescore
from ..stored.stored_requests import RescoreRequest
from .effects import AXES, FACTORS, HEADS, Factors, factorial_document, factorial_rows
from .requests import FactorialRequest

BRANCH_OF = {"softmax_weights": "softmax", "head_weights": "sigmoid"}
"""Field of ``RunConfig`` that names a branch's file -> the branch."""


def map_rule(sign: str, resize: str, normalisation: str = "min_max") -> MapRule:
    """The protocol's map rule for a level of ``sign``, of ``resize`` and of ``normalisation``."""
    kernel = resize.removesuffix("-lowres")
    fields = {"sign": sign, "kernel": kernel, "low_res_min_max": resize.endswith("-lowres")}
    return MapRule.model_validate({**fields, "normalisation": normalisation})


def factorial(
    request: FactorialRequest,
    say: Callable[[str], None] = lambda _: None,
    show: Callable[[Document], None] = lambda _: None,
) -> list[Path]:
    """Run every combination and write ``factorial.md``, ``.tex`` and ``.csv`` to the folder; returns their paths.

    Continues where an earlier call stopped. Branches that are not given are trained once, in the first run.

    Args:
        request: What is run on which data.
        say: Told each run before it starts.
        show: Given the answer, the first table.

    Raises:
        UsageError: A triple that is impossible on the network.
    """
    base, backbone, cam = PROTOCOLS.get(request.protocol), request.backbone, request.cam
    axes: dict[str, tuple[str, ...]] = {str(name): AXES[name] for name in AXES if name in request.axes}
    factors: Factors = {**FACTORS, **axes}
    entries = list[Entry]()
    given = {flag: dict(getattr(request, flag)) for flag in BRANCH_OF}
    # Other images are other forwards; every other axis reads the maps of a run.
    shapes = axes.pop("geometry", ("",))
    for sign, resize, shape in product(FACTORS["sign"], FACTORS["resize"], shapes):
        seen = {"geometry": shape} if shape else {}
        rule = (sign, resize, *seen.values())
        folder = request.out / "-".join(rule)
        say(f"{backbone}/{cam}: {sign} map, {', '.join(rule[1:])}")
        result = run(
            RunConfig.create(
                **{**request.part(DataOptions, WeightsOptions, DeviceOptions, PaceOptions, PluginOptions), **given},
                triples=tuple(f"{backbone}/{cam}/{head}" for head in HEADS.values()),
                protocol=_derived(base, sign, resize, seen),
                out=folder,
                keep_maps=True if axes else None,
                limit=request.limit,
                seed=request.seed,
            )
        )
        if entries and _branches(result.run) != _branches(entries[0].run):
            raise RunError(
                f"{folder} was run with other head parameters than {entries[0].run.out}; train the network with "
                "`cambench train` first and give its weights"
            )
        # One checkpoint: the branches that the first run trained are those of every other one.
        for flag, branch in BRANCH_OF.items():
            file = folder / "heads" / f"{file_name(backbone)}.{branch}.safetensors"
            if not given[flag] and file.is_file():
                given[flag] = {backbone: file}
        for levels in product(*axes.values()):
            others = dict(zip(axes, levels, strict=True))
            read = _read_otherwise(result.run, _derived(base, sign, resize, {**seen, **others}), others, say)
            entries += [
                Entry("|".join((*key, *rule, *levels)), read, f"{backbone}/{cam}/{head}") for key, head in HEADS.items()
            ]
    boot = bootstrap(entries, resamples=request.resamples)
    document = factorial_document(boot, f"{backbone}/{cam} on {request.dataset}", base, factors)
    show(Document(document.title, document.grids[:1], document.facts, document.notes[:1]))
    return _write(document, boot, request.out, factors)


def _branches(run: Run) -> dict[str, str]:
    """Hash of the parameters of every branch."""
    return {f"{n}.{b}": branch.sha256 for n, r in run.manifest.backbones.items() for b, branch in r.branches.items()}


def _read_otherwise(run: Run, name: str, levels: dict[str, str], say: Callable[[str], None]) -> Run:
    """A run's maps under the protocol ``name``, of other ``levels``, without the network; itself where it has none."""
    if not levels:
        return run
    say(f"  its maps under {', '.join(f'{axis} {level}' for axis, level in levels.items())}")
    folder = run.out.with_name("-".join((run.out.name, *map(file_name, levels.values()))))
    return rescore(RescoreRequest(run=run.out, protocol=name, out=folder)).records


def _derived(base: Protocol, sign: str, resize: str, levels: Mapping[str, str] | None = None) -> str:
    """Registers the protocol with another map rule for every method, and further levels; returns its name."""
    more = dict(levels or {})
    # A level such as ivr(45) brings its brackets, which no name has.
    name = "+".join((base.name, sign, resize, *more.values())).translate(str.maketrans("", "", "()"))
    rule = map_rule(sign, resize, more.pop("normalisation", base.map_rule.normalisation))
    fields = {"name": name, "map_rule": rule, "map_overrides": {}, "clamp_exempt": ()}
    if (shape := more.pop("geometry", "")) and (shape == "crop") != (base.crop_from is not None):
        fields["crop_from"] = base.size + 2 * (base.size // 14) if shape == "crop" else None
    fields.update(more)
    PROTOCOLS.add(name, base.model_copy(update=fields), origin=__name__)
    return name


def _write(document: Document, boot: Bootstrap, out: Path, factors: Factors) -> list[Path]:
    texts = {
        "md": to_markdown(document),
        "tex": to_latex_document([document]),
        "csv": to_csv(*factorial_rows(boot, factors)),
    }
    for suffix, text in texts.items():
        write_text(out / f"factorial.{suffix}", text)
    return [out / f"factorial.{suffix}" for suffix in texts]
