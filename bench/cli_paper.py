"""``cambench reproduce`` and ``cambench factorial``: the paper's tables, and the one it lacks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .errors import UsageError

out = Console(highlight=False)

Weights = Annotated[list[str] | None, typer.Option(help="Trained network, DATASET/NETWORK=FILE (repeatable).")]
Roots = Annotated[list[str] | None, typer.Option("--root", help="Folder of one data set, DATASET=DIR (repeatable).")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
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
    batch_size: Annotated[int, typer.Option(help="Images a batch of the evaluation.", min=1)] = 32,
    workers: Annotated[int, typer.Option(help="Decoding threads.", min=1)] = 2,
    dtype: Annotated[str, typer.Option(help="float32, bfloat16 or float16 (backbone, evaluation).")] = "float32",
    resamples: Annotated[int, typer.Option(help="Bootstrap resamples of the intervals.", min=2)] = 2000,
) -> None:
    """Train what is missing, evaluate every triple of a table, and set ours beside the published numbers.

    Interrupted, the same command continues where it stopped.

    Example:

        cambench reproduce table1 --data-root ~/data --dry-run
    """
    from .reproduce import describe
    from .reproduce import reproduce as do
    from .reproduce_plan import Reproduction, make_plan

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
            dtype=dtype,
            resamples=resamples,
        )
    )
    for step in plan.steps:
        cost = "" if step.done else f", about {_time(step.seconds)} ({step.images:,} images)"
        out.print(f"  {describe(step)}{cost}", soft_wrap=True, markup=False)
    out.print(f"in all about {_time(plan.seconds)} of computation, decoding aside")
    if dry_run:
        return
    for path in do(plan, lambda line: out.print(line, soft_wrap=True, markup=False)):
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
