"""``cambench.explain``: the maps of a run for any pictures, without a data set."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Unpack, overload

import torch
from torch import Tensor, nn

from ...baselines.backbones import backbone_of, file_of_network, instead_of_network, open_backbone, read_at
from ...baselines.cams import CAMS, CamMethod, supports
from ...baselines.contracts import BACKBONES, HEADS, Backbone, Branch, HeadSpec
from ...datasets.formats import imagenet_class_names
from ...results.records.manifest import RunManifest
from ...results.records.run_folder import read_manifest
from ...torch_state import usual_torch
from ...triple import Triple
from ..engine.head_keeper import has_head, take_heads
from ..engine.networks import same_numbers
from ..engine.scoring.reading import Reading
from ..host.device import pick_device
from ..host.errors import UsageError
from ..training.checkpoint import load_head
from ..training.head_cache import head_of_before
from .drawn_classes import as_rows, given_classes, present
from .explain_options import ExplainOptions, ExplainRequest, protocol_asked
from .explanation import Explanation, Explanations
from .pictures import Images, Pictures, read_pictures

IMAGENET_CLASSES = 1000


@overload
def explain(
    model: str | nn.Module, images: Images, cam: str = ..., head: str | None = ..., **options: Unpack[ExplainOptions]
) -> Explanation: ...


@overload
def explain(
    model: str | nn.Module,
    images: Images,
    cam: list[str] | tuple[str, ...],
    head: str | None = ...,
    **options: Unpack[ExplainOptions],
) -> Explanations: ...


def explain(
    model: str | nn.Module,
    images: Images,
    cam: str | list[str] | tuple[str, ...] = "gradcam",
    head: str | None = None,
    **options: Unpack[ExplainOptions],
) -> Explanation | Explanations:
    """Maps of one CAM method, or of several, on pictures: the same numbers as a run's, from one forward a batch.

    The class is the softmax branch's. The map is that of the head's branch: the heads ``sigmoid`` and
    ``sigmoid_signed`` need the trained branch, from ``head_weights``, from a ``run``, or in ``weights``. The network
    stays as it is, whatever its mode, dtype, device and wrapping.

    Args:
        model: Name of a backbone (``slim_resnet``, ``timm:resnet18``, one that ``cambench.wrap`` registered), a
            backbone that ``cambench.wrap`` returned, or a plain network of any library.
        images: A path, PIL image, array (H,W,3) or tensor (3,H,W) of uint8 or of fractions in [0, 1], a batch of
            arrays (B,H,W,3) or tensors (B,3,H,W), or a list of these. They are squashed to the protocol's R×R.
        cam: CAM method, or a list of methods.
        head: ``softmax``, ``softmax_clamped``, ``sigmoid``, ``sigmoid_signed``; left out: ``sigmoid`` where the network
            has that branch, else ``softmax``. A sigmoid head that ships, or that an earlier training of this very
            network left in the cache, is taken where one is asked for. Methods that read no head ignore it.
        **options: ``target``, ``protocol``, ``run``, ``weights``, ``device`` and the other fields of
            ``ExplainOptions``.

    Returns:
        An ``Explanation``; for a list of methods ``Explanations``, a mapping by method name.

    Raises:
        UsageError: Images, target or head that cannot be used; a method that the network cannot support.
        UnknownNameError: A name that nothing has; the message lists the nearest ones.
        UnsupportedNetworkError: A plain network that cannot be split; the message says what to do.
        WeightsError: Weights that are missing or do not fit.
    """
    with usual_torch():
        found = _explained(
            model, images, [cam] if isinstance(cam, str) else list(cam), head, ExplainRequest.of(options)
        )
    return found[0] if isinstance(cam, str) else Explanations(found)


def _explained(
    model: str | nn.Module, images: Images, cams: Sequence[str], head: str | None, request: ExplainRequest
) -> list[Explanation]:
    manifest = None if request.run is None else read_manifest(Path(request.run))
    rules = protocol_asked(request.protocol, manifest)
    methods = [CAMS.get(name) for name in cams]
    if not methods:
        raise UsageError("cam: an empty list; name at least one method")
    asked = None if head is None else HEADS.get(head)
    network, name = _network(model, request, manifest)
    pictures = read_pictures(images, rules.size, request.image_ids, network.image_channels, rules.crop_from)
    spec = _complete(network, name, asked, [] if all(m.headless for m in methods) else methods, request)
    branch: Branch = "softmax" if all(m.headless for m in methods) else spec.branch
    for method in methods:
        _check(method, network, spec)
    names = _class_names(request, network, manifest, name if isinstance(model, str) else "")
    reading = Reading(
        network.to(torch.device(pick_device(request.device))).freeze(), rules, **request.precision(manifest)
    )
    with same_numbers(reading.device, reading.dtype):
        given = given_classes(request.target, names, network.num_classes, len(pictures.image_ids), rules)
        drawn = None if given is None else as_rows(given)
        if drawn is None and network.multi_label:
            drawn = present(_scores(reading, pictures, request.batch_size), request.above)
        if drawn is not None:
            pictures = pictures.rows(drawn.pictures)
        columns = _Columns(reading, methods, spec, branch).over(
            pictures, None if drawn is None else drawn.classes, request.batch_size
        )
    return [
        Explanation(
            triple=Triple(name, m.name, "softmax" if m.headless else spec.name),
            protocol=rules,
            tau=rules.loc_tau if request.tau is None else request.tau,
            image_ids=pictures.image_ids,
            images=pictures.pixels,
            sizes=pictures.sizes,
            low_res=columns[f"map {m.name}"],
            **{key: columns[key] for key in ("predicted", "probability", "target", "score")},
            class_names=names,
            sources=pictures.sources,
        )
        for m in methods
    ]


class _Columns:
    """What is read of pictures, a batch at a time: classes, scores, and the maps of several methods under one head."""

    def __init__(self, reading: Reading, methods: Sequence[CamMethod], head: HeadSpec, branch: Branch) -> None:
        self.reading, self.methods, self.head, self.branch = reading, methods, head, branch

    def over(self, pictures: Pictures, target: Tensor | None, batch_size: int) -> dict[str, Tensor]:
        """Columns over all pictures, on the CPU."""
        pieces = [
            self._batch(
                pictures.pixels[start : start + batch_size],
                pictures.image_ids[start : start + batch_size],
                None if target is None else target[start : start + batch_size],
            )
            for start in range(0, len(pictures.pixels), batch_size)
        ]
        return {name: torch.cat([piece[name] for piece in pieces]).cpu() for name in pieces[0]}

    @torch.no_grad()
    def _batch(self, pixels: Tensor, image_ids: Sequence[str], drawn: Tensor | None) -> dict[str, Tensor]:
        seen = self.reading.see(pixels, image_ids, drawn)
        network = self.reading.network
        probability = network.scores(seen.logits).gather(1, seen.predicted[:, None])[:, 0]
        scores = network.scores(network.head(self.branch)(seen.features), self.branch)
        return {
            "predicted": seen.predicted,
            "probability": probability,
            "target": seen.target,
            "score": scores.gather(1, seen.target[:, None])[:, 0],
            **{f"map {m.name}": seen.score_map(m, self.head).low.float() for m in self.methods},
        }


@torch.no_grad()
def _scores(reading: Reading, pictures: Pictures, batch_size: int) -> Tensor:
    """Scores (B,C) float64 of the network's own head, on the CPU."""
    found = []
    for start in range(0, len(pictures.pixels), batch_size):
        some = slice(start, start + batch_size)
        seen = reading.see(pictures.pixels[some], pictures.image_ids[some], None)
        found.append(reading.network.scores(seen.logits).cpu())
    return torch.cat(found)


def _class_names(
    request: ExplainRequest, network: Backbone, manifest: RunManifest | None, name: str
) -> tuple[str, ...]:
    # One name of a network of one logit has become two.
    one = len(request.class_names) == 1 < len(network.class_names)
    said = () if one else tuple(request.class_names)
    names = said or network.class_names or tuple(manifest.dataset.class_names if manifest else ())
    if not names and name in BACKBONES and BACKBONES.get(name).weights and request.weights is None:
        # The weights that ship were trained on the embedded birds, whose adapter is opened for nothing else here.
        from ...datasets.adapters import BIRDS

        return BIRDS if network.num_classes == len(BIRDS) else ()
    # Nearly every network of 1,000 classes has ImageNet's, in the one order that all of them share.
    return imagenet_class_names() if not names and network.num_classes == IMAGENET_CLASSES else names


_WEIGHTS = (".pth", ".pt", ".ckpt", ".bin", ".safetensors")


def _network(model: str | nn.Module, request: ExplainRequest, manifest: RunManifest | None) -> tuple[Backbone, str]:
    """The network and its name."""
    if isinstance(model, str):
        network, name = _named(model, manifest, request.weights, request.pretrained), model
    else:
        network = _given(model, request)
        name = network.name or type(model).__name__
    if request.layer is not None and (isinstance(model, str) or network is model):
        network = read_at(network, request.layer)
    # The caller's own backbone stays as it is: branches are added, and it may move to another device.
    return (copy.deepcopy(network) if network is model else network), name


def _named(name: str, manifest: RunManifest | None, weights: str | Path | None, pretrained: bool) -> Backbone:
    if Path(name).suffix in _WEIGHTS:
        raise UsageError(
            f"model: {name} is a file of weights: give the network's name, or itself, and weights={name!r}"
        )
    if name not in BACKBONES and (what := file_of_network(name)):
        raise UsageError(f"model: {name} is {what}; give the network in PyTorch that it was made from, or its name")
    file = None if weights is None else Path(weights)
    network = open_backbone(name, weights=file, pretrained=pretrained)
    record = manifest.backbones.get(name) if manifest else None
    if record is not None and record.num_classes != network.num_classes:
        # The run gave it a softmax head for other classes, which its folder holds.
        return open_backbone(name, num_classes=record.num_classes, weights=file, pretrained=pretrained, new_head=True)
    return network


def _given(model: object, request: ExplainRequest) -> Backbone:
    if not isinstance(model, nn.Module):
        raise UsageError(
            f"model: got {instead_of_network(model)}; expected the name of a backbone, or a network of PyTorch"
        )
    if request.weights is not None:
        raise UsageError("weights: the network is given with its own; load them into it, or give it by name")
    return backbone_of(model, mean=request.mean, std=request.std, class_names=request.class_names, layer=request.layer)


def _complete(
    network: Backbone, name: str, asked: HeadSpec | None, readers: Sequence[CamMethod], request: ExplainRequest
) -> HeadSpec:
    """Put the branches in place that are read, and return the head; UsageError where one is nowhere, with what to do.

    Where no head is asked for, the sigmoid one is read if the network, the run or a file has it.
    """
    run, head_weights = request.run, request.head_weights
    if run is not None and asked is None and has_head(Path(run), name, "sigmoid"):
        asked = HEADS.get("sigmoid")
    if asked is None:
        found = head_weights is not None or "sigmoid" in network.heads
        asked = HEADS.get("sigmoid" if found else "softmax")
    branch: Branch = asked.branch if readers else "softmax"
    others: list[Branch] = [] if branch == "softmax" or head_weights is not None else [branch]
    if run is not None:
        take_heads(Path(run), name, network, ["softmax", *others])
    if head_weights is not None:
        load_head(Path(head_weights), network, branch)
    elif run is None and branch not in network.heads and (kept := head_of_before(network, branch)) is not None:
        load_head(kept, network, branch)
    if network.needs_training and request.pretrained:
        raise UsageError(
            f"{name} has no trained classifier; give weights=FILE, or run=FOLDER of a run that trained its softmax head"
        )
    if branch not in network.heads:
        raise UsageError(
            f"{name} has no {branch} branch: it is trained for a data set. Give head_weights=FILE (`cambench train "
            f"head --backbone {name} --dataset NAME --out FILE`) or run=FOLDER of a `cambench run` that trained it; "
            "or ask for head='softmax'"
        )
    return asked


def _check(method: CamMethod, network: Backbone, head: HeadSpec) -> None:
    if method.heads and head.name not in method.heads:
        raise UsageError(f"{method.name} runs under the head {' or '.join(method.heads)}, not under {head.name}")
    reason = supports(method, network, None if method.headless else head)
    if reason is not None:
        raise UsageError(reason)
