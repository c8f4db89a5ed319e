"""``cambench figure contact-sheet | maps | distortion | pareto``: pictures of data, maps, and scores against costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ..figures import pareto as figure_pareto
from .options import DatasetName, Device, Metadata, Options, Plugin, Root, dataset_options, load_plugins, named_files

app = typer.Typer(
    help="Draw a figure: samples of a data set, maps side by side, distortions of softmax heads, scores against costs.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.command()(figure_pareto.pareto)
out = Console(highlight=False)

Out = Annotated[Path, typer.Option("--out", help="FILE.png, .pdf or .svg; a name without ending gives all three.")]
Split = Annotated[str, typer.Option(help="train, val or test.")]
Images = Annotated[
    list[str] | None, typer.Option("--image", help="Id of an image, or the end of one (repeatable); else by --seed.")
]
Seed = Annotated[int, typer.Option(help="Draws the images, where no --image is given.", min=0)]
RunDir = Annotated[
    Path | None,
    typer.Option("--run", help="Run folder whose trained heads are used; else missing heads are trained, not kept."),
]
Weights = Annotated[
    list[str] | None, typer.Option(help="Weights FILE of the one backbone, or BACKBONE=FILE; may be repeated.")
]
HeadWeights = Annotated[
    list[str] | None,
    typer.Option(help="Branch FILE, BACKBONE=FILE or [BACKBONE:]BRANCH=FILE (sigmoid, semantic); may be repeated."),
]
SoftmaxWeights = Annotated[
    list[str] | None, typer.Option(help="Softmax head FILE or BACKBONE=FILE, in place of the network's own.")
]
HeadRecipe = Annotated[str, typer.Option(help="Recipe of heads that are trained for the figure.")]
ProtocolName = Annotated[str, typer.Option(help="Protocol: see 'cambench ls protocols'.")]
Dpi = Annotated[int, typer.Option(help="Pixels an inch of a PNG.", min=20, max=600)]
Style = Annotated[str, typer.Option(help="paper (serif, small) or screen (large type, thicker lines).")]


@app.command("contact-sheet")
def contact_sheet(
    output: Out,
    dataset: DatasetName = "synthbirds",
    root: Root = None,
    metadata: Metadata = None,
    option: Options = None,
    split: Split = "test",
    rows: Annotated[int, typer.Option(help="Samples a class.", min=1, max=50)] = 3,
    plugin: Plugin = None,
) -> None:
    """Samples of a data set by class; boxes and evidence are outlined in the last row.

    Example:

        cambench figure contact-sheet --dataset synthbirds --out synthbirds.png
    """
    from ..figures.sheet import draw_contact_sheet

    load_plugins(plugin)
    chosen = dataset_options(option, metadata)
    _wrote(draw_contact_sheet(output, dataset=dataset, root=root, options=chosen, split=split, rows=rows))


@app.command()
def maps(
    output: Out,
    triples: Annotated[
        list[str], typer.Option(help="Patterns backbone/cam/head, such as 'slim_resnet/{gradcam,layercam}/*'.")
    ],
    dataset: DatasetName = "synthbirds",
    root: Root = None,
    metadata: Metadata = None,
    option: Options = None,
    split: Split = "test",
    image: Images = None,
    rows: Annotated[int, typer.Option(help="Images, where no --image is given.", min=1, max=50)] = 4,
    seed: Seed = 0,
    tau: Annotated[
        float | None, typer.Option(help="Threshold of the predicted box. (default: the protocol's)", min=0, max=1)
    ] = None,
    run: RunDir = None,
    weights: Weights = None,
    head_weights: HeadWeights = None,
    softmax_weights: SoftmaxWeights = None,
    head_recipe: HeadRecipe = "auto",
    protocol: ProtocolName = "paper",
    device: Device = "auto",
    dpi: Dpi = 150,
    style: Style = "paper",
    plugin: Plugin = None,
) -> None:
    """Figure 3 of the paper: input, methods with and without the sigmoid branch, predicted and true boxes.

    A row an image and backbone; columns by method, its heads side by side. Predicted boxes are green and ground truths
    red, as in the paper. Maps, target class and threshold follow the protocol, as in a run.

    Example:

        cambench figure maps --triples 'slim_resnet/{gradcam,layercam}/{softmax,sigmoid}' --out birds
    """
    from ..figures.map_grid import draw_maps

    load_plugins(plugin)
    request = _request(
        dataset, root, dataset_options(option, metadata), split, image, rows, seed, run, weights, head_weights,
        softmax_weights, head_recipe, protocol, device,
    )  # fmt: skip
    _wrote(draw_maps(request, triples, output, tau=tau, dpi=dpi, style=style))


@app.command()
def distortion(
    output: Out,
    backbone: Annotated[str, typer.Option(help="Network.")],
    cam: Annotated[str, typer.Option(help="CAM method.")] = "gradcam",
    dataset: DatasetName = "synthbirds",
    root: Root = None,
    metadata: Metadata = None,
    option: Options = None,
    split: Split = "test",
    image: Images = None,
    images: Annotated[int, typer.Option(help="Images measured, where no --image is given.", min=2)] = 32,
    rows: Annotated[int, typer.Option(help="Images drawn, the first of them.", min=1, max=8)] = 1,
    seed: Seed = 0,
    deltas: Annotated[str, typer.Option(help="δ of Eq. 9, in σ (see above).")] = "16,32,64,128",
    collapse: Annotated[str, typer.Option(help="Δ of Eq. 10, in σ.")] = "0.5,1,2,4",
    channels: Annotated[int, typer.Option(help="Channels that Eq. 9 is averaged over; 0: all.", min=0)] = 32,
    run: RunDir = None,
    weights: Weights = None,
    head_weights: HeadWeights = None,
    softmax_weights: SoftmaxWeights = None,
    head_recipe: HeadRecipe = "auto",
    protocol: ProtocolName = "paper",
    device: Device = "auto",
    dpi: Dpi = 150,
    style: Style = "paper",
    plugin: Plugin = None,
) -> None:
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
    from ...results.tables.compare_table import print_document
    from ..paper.distortion_figure import DistortionRequest, draw_distortion, parse_shifts

    load_plugins(plugin)
    request = DistortionRequest(
        _request(
            dataset, root, dataset_options(option, metadata), split, image, images, seed, run, weights, head_weights,
            softmax_weights, head_recipe, protocol, device,
        ),
        backbone,
        cam,
        drawn=rows,
        channels=channels,
        deltas=parse_shifts(deltas, "--deltas"),
        collapse=parse_shifts(collapse, "--collapse"),
    )  # fmt: skip
    document, files = draw_distortion(request, output, dpi=dpi, style=style)
    print_document(document, out)
    _wrote(files)


def _request(
    dataset: str,
    root: Path | None,
    options: dict[str, Any],
    split: str,
    image: list[str] | None,
    count: int,
    seed: int,
    run: Path | None,
    weights: list[str] | None,
    head_weights: list[str] | None,
    softmax_weights: list[str] | None,
    head_recipe: str,
    protocol: str,
    device: str,
) -> Any:
    from ..figures.inputs import FigureRequest

    return FigureRequest(
        dataset=dataset,
        root=root,
        options=options,
        split=split,
        image=tuple(image or ()),
        count=count,
        seed=seed,
        run=run,
        weights=named_files(weights),
        head_weights=named_files(head_weights),
        softmax_weights=named_files(softmax_weights),
        head_recipe=head_recipe,
        protocol=protocol,
        device=device,
    )


def _wrote(files: list[Path]) -> None:
    for file in files:
        out.print(f"wrote {file}", soft_wrap=True, markup=False)
