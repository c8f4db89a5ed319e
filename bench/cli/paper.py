"""``cambench reproduce`` and ``cambench factorial``: the paper's tables, and the one it lacks."""

from __future__ import annotations

from typing import Annotated

import typer

from ...consoles import err, out, say_written
from ...protocol import PROTOCOLS
from ..engine.planning.words import check_triples
from ..paper.requests import FactorialRequest, Reproduction
from .dry_run import duration
from .options import command, load_plugins


@command(Reproduction)
def reproduce(
    request: Reproduction,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and stop; data need not be there.")] = False,
) -> None:
    """Train what is missing, evaluate every triple of a table, and set ours beside the published numbers.

    Interrupted, the same command continues where it stopped.

    Examples:

        cambench reproduce table1 --dry-run

        cambench reproduce table1 --data-root ~/data
    """
    err.print("opening data, and timing one forward of each network for the estimate", soft_wrap=True)
    from ..paper.reproduce import describe
    from ..paper.reproduce import reproduce as do
    from ..paper.shared_steps import seconds_on
    from ..paper.table_plan import make_plan

    plan = make_plan(request, without_data=dry_run)
    for step in plan.steps:
        # A training sees each image once an epoch.
        unit = "images" if step.kind == "records" else "image passes"
        cost = "" if step.done else f", about {duration(step.seconds)} ({step.images:,} {unit})"
        out.print(f"  {describe(step)}{cost}", soft_wrap=True, markup=False)
    for absent in plan.fetched.values():
        line = f"  fetch first: {absent.name}, not on this machine yet ({absent.url})"
        out.print(line, soft_wrap=True, markup=False)
    for problem in plan.missing:
        out.print(f"  missing: {problem}; planned from its published counts", soft_wrap=True, markup=False)
    for line in plan.advice:
        out.print(f"  memory: {line}", soft_wrap=True, markup=False)
    for note in plan.notes:
        out.print(f"  note: {note}", soft_wrap=True, markup=False)
    out.print(f"in all about {duration(plan.seconds)} of computation, decoding aside")
    if (devices := request.processes or 1) > 1:
        shared = duration(seconds_on(plan.steps, devices))
        out.print(f"on {devices} devices like this machine's about {shared}: each network is trained by one of them")
    if dry_run:
        return
    paths = do(plan, lambda line: out.print(line, soft_wrap=True, markup=False))
    if not paths:
        out.print("this process is through; others go on, and the last of them writes the report", soft_wrap=True)
    say_written(paths)


@command(FactorialRequest)
def factorial(request: FactorialRequest) -> None:
    """Head × clamp × sign × resize on one checkpoint: is the gain the sigmoid's or the clamp's?

    The published tables change head and clamp together. Here each is changed alone, under every map rule, on the same
    images: the answer with paired 95 % intervals first, then the main effects and every combination (.md, .tex, .csv).

    Example:

        cambench factorial --backbone slim_vgg --dataset synthbirds --out runs/factorial
    """
    if not request.plugins:
        PROTOCOLS.get(request.protocol)
        check_triples([f"{request.backbone}/{request.cam}/softmax"])
        request.source.check()
    from ...results.tables.compare_table import print_document
    from ..paper.factorial import factorial as do

    load_plugins(request.plugins)
    paths = do(
        request,
        say=lambda line: out.print(line, soft_wrap=True, markup=False),
        show=lambda answer: print_document(answer, out),
    )
    say_written(paths)
