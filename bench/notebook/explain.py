"""``cambench.explain``: the maps of a run for any pictures, without a data set."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypedDict, Unpack, get_args, overload

import torch
from torch import Tensor, nn

from ...baselines.backbones import backbone_of, open_backbone, read_at
from ...baselines.cams import CAMS, CamMethod, supports
from ...baselines.contracts import HEADS, Backbone, Branch, HeadSpec
from ...datasets.formats import imagenet_class_names
from ...protocol import PROTOCOLS, Protocol
from ...results.records.manifest import RunManifest
from ...results.records.run_folder import read_manifest
from ...triple import Triple
from ..engine.head_keeper import has_head, take_heads
from ..engine.networks import torch_determinism
from ..engine.scoring.reading import Reading
from ..host.device import pick_device
from ..host.dtypes import Dtype
from ..host.errors import UsageError
from ..training.checkpoint import load_head
from ..training.head_cache import head_of_before
from .drawn_classes import ABOVE, Target, as_rows, given_classes, present
from .explanation import Explanation, Explanations
from .pictures import Images, Pictures, read_pictures

IMAGENET_CLASSES = 1000


class ExplainOptions(TypedDict, total=False):
    """Keywords of ``explain``; each may be left out.

    Attributes:
        target: Class whose evidence is drawn, by index or name: one for all images, one each, or a list of several each
            (a row for each of them). Left out: the predicted class, where the protocol draws that; of a multi-label
            network every class above ``above``, or the highest where none is.
        above: Score, 0 to 1, from which a class of a multi-label network is present (default: 0.5).
        layer: Layer whose output is the feature map, by name, or the module itself; left out: the network's target
            layer. Of another layer only the network's own head can be read.
        protocol: Name, or a ``Protocol``; left out: that of ``run``, else ``paper``.
        tau: Threshold of the boxes, 0 to 1; left out: the protocol's ``loc_tau``.
        run: Folder of a run that trained the heads of this backbone. Its heads, class names, protocol, autocast dtype
            and memory format are used.
        weights: File of the network's weights, instead of its own.
        head_weights: File of the head's branch, as ``cambench train head`` writes it.
        pretrained: Load the weights that the backbone's library or package ships (default: yes).
        mean: Of a plain network's input, for each channel, in [0, 1]; left out: what timm says, else ImageNet's.
        std: As ``mean``.
        class_names: By class; left out: those of the network or the run, or ImageNet's where there are 1,000.
        image_ids: One id an image; random methods draw their seeds from them. Left out: paths, or ``image 0`` ….
        device: ``auto`` (default), ``cpu``, ``cuda`` or ``cuda:N``.
        batch_size: Images a forward (default: 32).
        dtype: Autocast dtype of the network, ``float32``, ``bfloat16`` or ``float16``; left out: that of ``run``, else
            ``float32``.
        channels_last: Memory layout of the network's input; left out: that of ``run``, else not.
    """

    target: Target
    above: float
    layer: str | nn.Module | None
    protocol: str | Protocol | None
    tau: float | None
    run: str | Path | None
    weights: str | Path | None
    head_weights: str | Path | None
    pretrained: bool
    mean: Sequence[float] | None
    std: Sequence[float] | None
    class_names: Sequence[str]
    image_ids: Sequence[str] | None
    device: str
    batch_size: int
    dtype: Dtype | None
    channels_last: bool | None


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
    # Tensors that are made in inference mode have no gradient.
    with torch.inference_mode(False):
        found = _explained(model, images, [cam] if isinstance(cam, str) else list(cam), head, _Request.of(options))
    return found[0] if isinstance(cam, str) else Explanations(found)


def _explained(
    model: str | nn.Module, images: Images, cams: Sequence[str], head: str | None, request: _Request
) -> list[Explanation]:
    manifest = None if request.run is None else read_manifest(Path(request.run))
    rules = _rules(request.protocol, manifest)
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
    names = _class_names(request, network, manifest)
    reading = Reading(
        network.to(torch.device(pick_device(request.device))).freeze(), rules, **request.precision(manifest)
    )
    with torch_determinism():
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


class _Precision(TypedDict):
    dtype: Dtype
    channels_last: bool


@dataclass(frozen=True)
class _Request:
    """``ExplainOptions`` with their defaults, checked."""

    target: Target = None
    above: float = ABOVE
    layer: str | nn.Module | None = None
    protocol: str | Protocol | None = None
    tau: float | None = None
    run: str | Path | None = None
    weights: str | Path | None = None
    head_weights: str | Path | None = None
    pretrained: bool = True
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    class_names: Sequence[str] = ()
    image_ids: Sequence[str] | None = None
    device: str = "auto"
    batch_size: int = 32
    dtype: Dtype | None = None
    channels_last: bool | None = None

    @classmethod
    def of(cls, options: ExplainOptions) -> _Request:
        """The request of keywords; UsageError for one that there is not."""
        known = [f.name for f in fields(cls)]
        if unknown := sorted(set(options) - set(known)):
            near = difflib.get_close_matches(unknown[0], [*known, "cam", "head"], n=2) or known
            raise UsageError(f"explain takes no {unknown[0]!r}; nearest: {', '.join(near)}")
        return cls(**options)

    def __post_init__(self) -> None:
        if not 0 <= self.above <= 1:
            raise UsageError(f"above {self.above}: expected a score between 0 and 1")
        if self.batch_size < 1:
            raise UsageError(f"batch_size {self.batch_size}: expected at least 1")
        if self.tau is not None and not 0 <= self.tau <= 1:
            raise UsageError(f"tau {self.tau}: expected a fraction between 0 and 1")
        if self.dtype is not None and self.dtype not in get_args(Dtype):
            raise UsageError(f"dtype {self.dtype!r}: expected {', '.join(get_args(Dtype))}")

    def precision(self, manifest: RunManifest | None) -> _Precision:
        """Autocast dtype and memory format: as asked for, else those of the run."""
        run: Mapping[str, Any] = manifest.options if manifest else {}
        dtype = self.dtype or run.get("dtype", "float32")
        last = run.get("channels_last", False) if self.channels_last is None else self.channels_last
        return {"dtype": dtype, "channels_last": bool(last)}


def _rules(asked: str | Protocol | None, manifest: RunManifest | None) -> Protocol:
    if asked is None:
        return manifest.protocol if manifest else PROTOCOLS.get("paper")
    return PROTOCOLS.get(asked) if isinstance(asked, str) else asked


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


def _class_names(request: _Request, network: Backbone, manifest: RunManifest | None) -> tuple[str, ...]:
    # One name of a network of one logit has become two.
    one = len(request.class_names) == 1 < len(network.class_names)
    said = () if one else tuple(request.class_names)
    names = said or network.class_names or tuple(manifest.dataset.class_names if manifest else ())
    # Nearly every network of 1,000 classes has ImageNet's, in the one order that all of them share.
    return imagenet_class_names() if not names and network.num_classes == IMAGENET_CLASSES else names


def _network(model: str | nn.Module, request: _Request, manifest: RunManifest | None) -> tuple[Backbone, str]:
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
    file = None if weights is None else Path(weights)
    network = open_backbone(name, weights=file, pretrained=pretrained)
    record = manifest.backbones.get(name) if manifest else None
    if record is not None and record.num_classes != network.num_classes:
        # The run gave it a softmax head for other classes, which its folder holds.
        return open_backbone(name, num_classes=record.num_classes, weights=file, pretrained=pretrained, new_head=True)
    return network


def _given(model: nn.Module, request: _Request) -> Backbone:
    if not isinstance(model, nn.Module):
        raise UsageError(f"model: got a {type(model).__name__}; expected the name of a backbone, or a network")
    if request.weights is not None:
        raise UsageError("weights: the network is given with its own; load them into it, or give it by name")
    return backbone_of(model, mean=request.mean, std=request.std, class_names=request.class_names, layer=request.layer)


def _complete(
    network: Backbone, name: str, asked: HeadSpec | None, readers: Sequence[CamMethod], request: _Request
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
