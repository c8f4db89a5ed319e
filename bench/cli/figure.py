"""``cambench figure contact-sheet | maps | distortion | pareto``: pictures of data, maps, and scores against costs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import typer

from ...consoles import err, out, say_written
from ..figures.figure_request import FigureRequest, MapsRequest, SheetRequest
from ..figures.pareto import ParetoRequest, draw_pareto
from ..paper.requests import DistortionRequest
from .options import command, load_plugins
from .verbs import Verb

app = typer.Typer(
    help="Draw a figure: samples of a data set, maps side by side, distortions of softmax heads, scores against costs.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


@app.command(cls=Verb)
@command(ParetoRequest)
def pareto(request: ParetoRequest) -> None:
    """Score against cost: a panel a backbone, 95 % intervals, the triples that nothing beats in both.

    Example:

        cambench figure pareto runs/first --metric pxap --out pareto
    """
    err.print("starting: records and intervals", soft_wrap=True)
    say_written(draw_pareto(request))


@app.command("contact-sheet", cls=Verb)
@command(SheetRequest)
def contact_sheet(request: SheetRequest) -> None:
    """Samples of a data set by class; boxes and evidence are outlined in the last row.

    Example:

        cambench figure contact-sheet --dataset synthbirds --out synthbirds.png
    """
    if not request.plugins:
        request.source.check()
    from ..figures.sheet import draw_contact_sheet

    load_plugins(request.plugins)
    say_written(draw_contact_sheet(request))


@app.command(cls=Verb)
@command(MapsRequest)
def maps(request: MapsRequest) -> None:
    """Figure 3 of the paper: input, methods with and without the sigmoid branch, predicted and true boxes.

    One row for each image and backbone; columns by method, its heads side by side. Predicted boxes are green and
    ground truths red, as in the paper. Maps, target class and threshold follow the protocol, as in a run.

    Example:

        cambench figure maps --triples 'slim_resnet/{gradcam,layercam}/{softmax,sigmoid}' --out birds
    """
    _check(request, request.triples)
    err.print("starting: libraries, networks and data", soft_wrap=True)
    from ..figures.map_grid import draw_maps

    load_plugins(request.plugins)
    say_written(draw_maps(request, request.triples, request.out, tau=request.tau, dpi=request.dpi, style=request.style))


@app.command(cls=Verb)
@command(DistortionRequest)
def distortion(request: DistortionRequest) -> None:
    """Figure 1 and §3.2 of the paper as a measurement: shifts of the weights that leave softmax as it is.

    Eq. 9 adds δ to the weight of one channel in every class; Eq. 10 subtracts Δ from every weight. Both move all logits
    of an image alike, so no softmax probability changes (checked to 1e-6 in float64), but the maps of softmax heads do.

    [bold]Shift sensitivity[/bold]: mean over images and pixels of the change of the normalised map (in % of its range)
    at a shift of one σ, the standard deviation of the softmax classifier's weights; Eq. 9 is averaged over channels.

    The shift is made in the softmax branch, which decides the class. The sigmoid heads draw from a clone with weights
    of its own, which such a shift does not touch: they must not change. The same shift of the clone's own weights is
    shown beside it: its scores change, so it is not a symmetry of that branch.

    Writes the picture, and the table as .md and .csv beside it.

    Example:

        cambench figure distortion --backbone slim_vgg_gap --out distortion
    """
    _check(request, [f"{request.backbone}/{request.cam}/softmax"])
    err.print("starting: libraries, networks and data", soft_wrap=True)
    from ...results.tables.compare_table import print_document
    from ..paper.distortion_figure import draw_distortion

    load_plugins(request.plugins)
    document, files = draw_distortion(request)
    print_document(document, out)
    say_written(files)


def _check(request: FigureRequest, triples: Iterable[str]) -> None:
    from ..engine.planning.words import check_request

    check_request(request.config(tuple(triples), Path()).model_copy(update={"plugins": request.plugins}))
