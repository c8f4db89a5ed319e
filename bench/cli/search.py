"""``cambench search``: learning rate and method parameters of a training, by wsolevaluation's protocol."""

from __future__ import annotations

from typing import Annotated

import typer

from ...consoles import out, say_written
from ..search.search_request import SearchRequest
from .dry_run import duration
from .options import command, load_plugins


@command(SearchRequest)
def search(
    request: SearchRequest,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what is drawn and stop.")] = False,
) -> None:
    """Draw, train, judge: a seeded random search of a training's learning rate and its method's parameters.

    Each trial is judged by its last checkpoint on the val split. Interrupted, the same command goes on; given at the
    same time in several processes on one folder, they share the trials.

    Examples, wsolevaluation's thirty trials, and three of the embedded benchmark:

        cambench search --recipe cub-vgg16_gap --method adl --root ~/data/CUB_200_2011 --out runs/search

        cambench search --backbone slim_vgg_gap --dataset synthbirds --recipe synthbirds --method cutmix --trials 3
        --lr 1e-4,1e-2 --proxy 0.1 --out runs/search
    """
    if request.dataset and not request.plugins:
        request.source.check()
    from ..search.search import make_search
    from ..search.search import search as do

    load_plugins(request.plugins)
    plan = make_search(request)
    lines = plan.lines()
    if dry_run:
        lines += [f"  trial {number}: {plan.shown(number)}" for number in range(plan.job.request.trials)]
    lines.append(f"about {duration(plan.seconds)} of computation in one process, decoding aside")
    for line in lines:
        out.print(line, soft_wrap=True, markup=False)
    if dry_run:
        return
    say_written(do(plan, lambda line: out.print(line, soft_wrap=True, markup=False)))
