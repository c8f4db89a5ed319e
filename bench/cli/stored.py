"""``cambench export maps`` and ``cambench rescore``: what a run's stored maps are good for without its networks."""

from __future__ import annotations

import typer

from ...consoles import out, say_written
from ..stored.stored_requests import ExportMapsRequest, RescoreRequest
from .options import command, load_plugins
from .verbs import Verb

app = typer.Typer(
    help="Write what a run holds in other tools' form.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


@app.callback()
def _group() -> None:
    """Write what a run holds in other tools' form."""


@app.command(cls=Verb)
@command(ExportMapsRequest)
def maps(request: ExportMapsRequest) -> None:
    """Write the stored score maps of a run: OUT/<backbone>/<cam>/<head>/<image id>.npy.

    Given back with 'run --maps NAME=OUT/<backbone>/<cam>/<head>', the .npy files have the scores of the run.

    Example:

        cambench export maps runs/first maps/ --triples 'slim_resnet/gradcam/*'
    """
    from ..stored.export_maps import export_maps

    for folder in export_maps(request, _say):
        say_written([folder])


@command(RescoreRequest)
def rescore(request: RescoreRequest) -> None:
    """Score the stored maps of a run under another protocol, without its networks.

    Localisation and pixel scores are those of a fresh run under the protocol; the fidelity scores are the run's where
    the protocol leaves them as they were, and left out elsewhere. Refused where the protocol needs other maps.

    Example:

        cambench rescore runs/first --protocol ivr --out runs/ivr
    """
    load_plugins(request.plugins)
    from ...results.tables.terminal import closing_table
    from ..stored.rescore import rescore as score_again

    done = score_again(request, _say)
    closing_table(done.records, out, done.standing)
    say_written(done.paths)


def _say(line: str) -> None:
    out.print(line, soft_wrap=True, markup=False, style="yellow")
