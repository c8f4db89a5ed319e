"""``cambench reproduce`` and ``cambench factorial``: the paper's tables, and the one it lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from ..host.errors import UsageError
from .options import CacheMb, Device, Metadata, Options, Root, dataset_options

out = Console(highlight=False)

Weights = Annotated[
    list[str] | None,
    typer.Option(
        help="Trained network (with its sigmoid branch, if the file holds it), DATASET/NETWORK=FILE (repeatable)."
    ),
]
Roots = Annotated[list[str] | None, typer.Option("--root", help="Folder of one data set, DATASET=DIR (repeatable).")]
Limit = Annotated[int | None, typer.Option(help="Only the first N images of every split (a trial).", min=1)]


def reproduce(
    table: Annotated[str, typer.Argument(help="table1 or table2.")],
    data_root: Annotated[Path | None, typer.Option(help="Folder that holds the data sets' folders.")] = None,
    output: Annotated[Path | None, typer.Option("--out", help="Folder (default: runs/TABLE).")] = None,
    root: Roots = None,
    dataset: Annotated[list[str] | None, typer.Option(help="Only this data set of the table (repeatable).")] = None,
    protocol: Annotated[list[str] | None, typer.Option(help="Protocol (repeatable: side by side).")] = None,
    limit: Limit = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop.")] = False,
    substitute: Annotated[list[str] | None, typer.Option(help="Stand-in, NETWORK=OTHER (repeatable; a trial).")] = None,
    weights: Weights = None,
    backbone_recipe: Annotated[str, typer.Option(help="Recipe of the networks; auto: the data set's own.")] = "auto",
    head_recipe: Annotated[str, typer.Option(help="Recipe of the sigmoid branches.")] = "paper",
    seed: Annotated[int, typer.Option(help="Seed of every training.", min=0)] = 0,
    device: Device = "auto",
    batch_size: Annotated[int, typer.Option(help="Images a batch of evaluation and of a head's pass.", min=1)] = 32,
    workers: Annotated[int, typer.Option(help="Decoding threads.", min=1)] = 2,
    cache_mb: CacheMb = 1024,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16 (backbone, evaluation).")] = "float32",
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples of the intervals.", min=2)] = 2000,
) -> None:
    """Train what is missing, evaluate every triple of a table, and set ours beside the published numbers.

    Interrupted, the same command continues where it stopped.

    Example:

        cambench reproduce table1 --data-root ~/data --dry-run
    """
    from ..paper.reproduce import describe
    from ..paper.reproduce import reproduce as do
    from ..paper.table_plan import make_plan
    from ..paper.table_request import Reproduction

    plan = make_plan(
        Reproduction(
            table=table,
            out=output or Path("runs") / table,
            data_root=data_root,
            roots={k: Path(v) for k, v in _pairs(root, "--root").items()},
            datasets=tuple(dataset or ()),
            protocols=tuple(protocol or ("paper",)),
            limit=limit,
            substitutes=_pairs(substitute, "--substitute"),
            weights={k: Path(v) for k, v in _pairs(weights, "--weights").items()},
            backbone_recipe=backbone_recipe,
            head_recipe=head_recipe,
            seed=seed,
            device=device,
            batch_size=batch_size,
            workers=workers,
            cache_mb=cache_mb,
            dtype=dtype,
            resamples=resamples,
        )
    )
    for step in plan.steps:
        cost = "" if step.done else f", about {_time(step.seconds)} ({step.images:,} images)"
        out.print(f"  {describe(step)}{cost}", soft_wrap=True, markup=False)
    for absent in plan.fetched.values():
        line = f"  fetch first: {absent.name}, not on this machine yet ({absent.url})"
        out.print(line, soft_wrap=True, markup=False)
    for line in plan.advice:
        out.print(f"  memory: {line}", soft_wrap=True, markup=False)
    for note in plan.notes:
        out.print(f"  note: {note}", soft_wrap=True, markup=False)
    out.print(f"in all about {_time(plan.seconds)} of computation, decoding aside")
    if dry_run:
        return
    for path in do(plan, lambda line: out.print(line, soft_wrap=True, markup=False)):
        out.print(f"wrote {path}", soft_wrap=True, markup=False)


def factorial(
    backbone: Annotated[str, typer.Option(help="Network.")],
    dataset: Annotated[str, typer.Option(help="Data set.")],
    output: Annotated[Path, typer.Option("--out", help="Folder of the tables and runs.")],
    cam: Annotated[str, typer.Option(help="CAM method.")] = "gradcam",
    root: Root = None,
    metadata: Metadata = None,
    option: Options = None,
    weights: Annotated[Path | None, typer.Option(help="File of the network's weights.")] = None,
    head_weights: Annotated[Path | None, typer.Option(help="Trained sigmoid branch (else trained here).")] = None,
    softmax_weights: Annotated[Path | None, typer.Option(help="Trained softmax head, in place of its own.")] = None,
    head_recipe: Annotated[str, typer.Option(help="Recipe of the heads that are trained.")] = "auto",
    protocol: Annotated[str, typer.Option(help="Where all but the map rule comes from.")] = "paper",
    limit: Annotated[int | None, typer.Option(help="Only the first N images.", min=1)] = None,
    seed: Annotated[int, typer.Option(help="Seed of the heads.", min=0)] = 0,
    device: Device = "auto",
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples of the intervals.", min=2)] = 2000,
) -> None:
    """Head × clamp × sign × resize on one checkpoint: is the gain the sigmoid's or the clamp's?

    The published tables change head and clamp together. Here each is changed alone, under every map rule, on the same
    images: the answer with paired 95 % intervals first, then the main effects and every combination (.md, .tex, .csv).

    Example:

        cambench factorial --backbone slim_vgg --dataset synthbirds --out runs/factorial
    """
    from ...results.tables.compare_table import print_document
    from ..paper.factorial import factorial as do

    paths = do(
        dataset=dataset,
        backbone=backbone,
        cam=cam,
        out=output,
        protocol=protocol,
        resamples=resamples,
        say=lambda line: out.print(line, soft_wrap=True, markup=False),
        show=lambda answer: print_document(answer, out),
        root=root,
        options=dataset_options(option, metadata),
        weights={backbone: weights} if weights else {},
        head_weights={backbone: head_weights} if head_weights else {},
        softmax_weights={backbone: softmax_weights} if softmax_weights else {},
        head_recipe=head_recipe,
        limit=limit,
        seed=seed,
        device=device,
    )
    for path in paths:
        out.print(f"wrote {path}", soft_wrap=True, markup=False)


def _pairs(values: list[str] | None, flag: str) -> dict[str, str]:
    found = {}
    for value in values or []:
        key, equals, rest = value.partition("=")
        if not (equals and key and rest):
            raise UsageError(f"{flag} {value!r}: expected NAME=VALUE")
        found[key] = rest
    return found


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
