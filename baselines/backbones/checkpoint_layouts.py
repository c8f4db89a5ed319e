"""Key names of published checkpoints, network by network, as prefixes: theirs -> ours.

torchvision (``features``, ``layer4``, ``Mixed_6e``, ``fc``), clovaai/wsolevaluation (``conv6``, ``SPG_A3_1b``,
``SPG_A4``), and the code of the paper's authors, which adds the sigmoid branch as ``fc2``, ``conv2``,
``classifier_2`` or ``SPG_A4_2``; Rethinking CAM (``main_layers``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

_AUXILIARY = "torchvision's auxiliary classifier"
_OTHER_HEAD = "the ImageNet network's own classifier; this network has another"
_SPG = "attention branch of SPG (wsolevaluation), which makes no logits"
RETHINKING_CAM = "main_layers."
"""Prefix of the layers in the files of Rethinking CAM's code."""
_NORM = "the file's input constants; the network has its own"


@dataclass(frozen=True)
class Layout:
    """How a network's parameters are named elsewhere.

    Attributes:
        renamed: Prefixes theirs -> ours; the first that fits wins. Our own names fit as they are.
        classifier: Last layer inside the head.
        unused: Prefixes of theirs that this network does not have, and why.
        fresh: Prefixes of ours that an ImageNet checkpoint may lack as a whole.
        numbered: Groups of theirs whose numbers shift with layers that have no parameters (a dropped pool, ADL).
    """

    renamed: tuple[tuple[str, str], ...]
    classifier: str
    unused: tuple[tuple[str, str], ...] = ()
    fresh: tuple[str, ...] = ("heads.softmax.",)
    numbered: tuple[str, ...] = ()

    def target(self, key: str) -> str | None:
        """Our key for theirs; None where the network has no such layer."""
        if key.startswith(("body.", "heads.", "branches.")):
            return key
        return next((ours + key.removeprefix(theirs) for theirs, ours in self.renamed if key.startswith(theirs)), None)

    def reason(self, key: str) -> str | None:
        """Why the network does not use their key, where that is known."""
        known = (*self.unused, ("mean", _NORM), ("std", _NORM))
        return next((why for prefix, why in known if key.startswith(prefix)), None)


def _same(*prefixes: str) -> tuple[tuple[str, str], ...]:
    return tuple((prefix, f"body.{prefix}") for prefix in prefixes)


def _linear(softmax: tuple[str, ...], sigmoid: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    branches = (("softmax", softmax), ("sigmoid", sigmoid))
    return tuple((f"{name}.", f"heads.{branch}.linear.") for branch, names in branches for name in names)


_STAGES = ("layer1.", "layer2.", "layer3.", "layer4.")
_LAYOUTS = {
    "vgg16": Layout(
        renamed=(
            *_same("features."),
            ("classifier.", "heads.softmax.mlp."),
            ("classifier_2.", "heads.sigmoid.mlp."),
        ),
        classifier="mlp.6",
        numbered=("features.",),
    ),
    "vgg16_gap": Layout(
        renamed=(
            *_same("features.", "conv6."),
            # Rethinking CAM (ECCV 2020): one chain of layers, of which the last convolution is conv6.
            ("main_layers.30.", "body.conv6."),
            (RETHINKING_CAM, "body.features."),
            *_linear(("fc", "conv"), ("fc2", "conv2")),
        ),
        classifier="linear",
        unused=(("classifier.", _OTHER_HEAD), ("classifier_2.", _OTHER_HEAD)),
        fresh=("heads.softmax.", "body.conv6."),
        numbered=("features.",),
    ),
    "resnet50": Layout(
        # conv1 is the stem here; the authors' pointwise classifiers of ResNet are called conv and conv2.
        renamed=(*_same("conv1.", "bn1.", *_STAGES), *_linear(("fc", "conv"), ("fc2", "conv2"))),
        classifier="linear",
        numbered=_STAGES,
    ),
    "inception_v3": Layout(
        renamed=(*_same("Conv2d_", "Mixed_"), *_linear(("fc",), ("fc2",))),
        classifier="linear",
        unused=(("AuxLogits.", _AUXILIARY),),
    ),
    "inception_v3_gap": Layout(
        renamed=(
            *_same("Conv2d_", "Mixed_5", "Mixed_6"),
            ("SPG_A3_1b.", "body.conv7_1."),
            ("SPG_A3_2b.", "body.conv7_2."),
            *_linear(("SPG_A4",), ("SPG_A4_2",)),
        ),
        classifier="linear",
        unused=(
            ("AuxLogits.", _AUXILIARY),
            ("Mixed_7", "stage Mixed_7, which this network drops"),
            ("fc.", _OTHER_HEAD),
            ("SPG_B", _SPG),
            ("SPG_C", _SPG),
        ),
        fresh=("heads.softmax.", "body.conv7_1.", "body.conv7_2."),
    ),
}


_ACOL = (
    ("classifier_A.4.", "heads.softmax.linear."),
    ("classifier_A.", "body.branch_a."),
    ("classifier_B.", "branches.b."),
)
_SPG_BRANCHES = (
    ("SPG_B_1a.", "branches.b1."),
    ("SPG_B_2a.", "branches.b2."),
    ("SPG_B_shared.", "branches.shared."),
    ("SPG_C.", "branches.c."),
)
_VGG_SPG = (
    *((f"SPG_A_1.{n}.", f"body.features.{17 + n}.") for n in (0, 2, 4)),
    *((f"SPG_A_2.{n}.", f"body.features.{24 + n}.") for n in (0, 2, 4)),
    ("SPG_A_3.", "body.spg_a."),
    ("SPG_A_4.", "heads.softmax.linear."),
)
_RESNET_SPG = (
    ("SPG_A1.0.", "body.layer3.0."),
    *((f"SPG_A2.{n}.", f"body.layer3.{n + 1}.") for n in range(5)),
    ("SPG_A4.", "heads.softmax.linear."),
)
_ADDED = ("heads.softmax.", "body.branch_a.", "body.spg_a.", "branches.")
_SPG_NAMES = {"vgg16_gap": _VGG_SPG, "resnet50": _RESNET_SPG, "inception_v3_gap": ()}


def _changed(base: str, method: str) -> Layout | None:
    """Layout of a network that ACoL or SPG changed, as wsolevaluation names its parameters."""
    plain = _LAYOUTS[base]
    if method == "spg" and base in _SPG_NAMES:
        renamed = (*_SPG_NAMES[base], *_SPG_BRANCHES, *plain.renamed)
        fresh, numbered = (*plain.fresh, *_ADDED), () if base != "inception_v3_gap" else plain.numbered
        return replace(plain, renamed=renamed, fresh=fresh, numbered=numbered, unused=plain.unused[:3])
    if method == "acol":
        dropped = tuple((theirs, _OTHER_HEAD) for theirs in ("fc.", "classifier.", "classifier_2."))
        return replace(plain, renamed=(*_ACOL, *plain.renamed), fresh=_ADDED, unused=(*plain.unused, *dropped))
    return plain


def layout_of(name: str) -> Layout | None:
    """Layout of a network, of its 28×28 version, whose parameters are the same, or of one that a method trained
    (``resnet50_28+acol``); None where none is known."""
    base, _, method = name.partition("+")
    base = base.removesuffix("_28")
    return _changed(base, method) if base in _LAYOUTS else None


def method_of(keys: Iterable[str]) -> str:
    """The method that gave a file of wsolevaluation's its branches, by its keys: ``acol``, ``spg``, or empty."""
    listed = list(keys)
    if any(key.startswith("classifier_A.") for key in listed):
        return "acol"
    return "spg" if any(key.startswith("SPG_B_") for key in listed) else ""
