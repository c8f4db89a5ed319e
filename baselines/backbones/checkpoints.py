"""Checkpoints of other code in the paper's networks: torchvision's, wsolevaluation's, and the paper's authors' own.

Each names the same layers differently. A ``Layout`` says how; every key of a file is used, or unused for a stated
reason, and every parameter of ours that the file lacks is named. Nothing is skipped silently.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..contracts import BACKBONES, Backbone, BackboneSpec, Branch
from ..heads.tap import THRESHOLD
from ..weights.file_names import State, some_names, without_prefix
from ..weights.other_files import one_of_several
from ..weights.weight_files import WeightsError, apply_state, check_values, load_state
from .checkpoint_layouts import RETHINKING_CAM, Layout, layout_of, method_of

_BRANCHES: tuple[Branch, ...] = ("softmax", "sigmoid")
_VGG_CONVS_28 = (23, 25, 27)
_PERHAPS = "no such layer, and of the classifier's inputs"


@dataclass(frozen=True)
class KeyAccount:
    """What became of every key of a checkpoint.

    Attributes:
        network: The network that was filled.
        source: The file, or where else the tensors come from.
        used: Their key -> our key.
        unused: Their key -> why it is not used.
        missing: Our keys that the checkpoint lacks; these parameters are fresh.
        branches: Branches that the checkpoint holds.
        notes: What a reader should know beyond the keys.
        num_classes: Classes of the checkpoint's branches; None where it has no branch of this network.
        refused: Why the network cannot be filled from it; empty where it can.
    """

    network: str
    source: str
    used: Mapping[str, str]
    unused: Mapping[str, str]
    missing: tuple[str, ...]
    branches: tuple[Branch, ...]
    notes: tuple[str, ...] = ()
    num_classes: int | None = None
    refused: str = ""

    def summary(self) -> str:
        """The account in a few lines: counts, unused keys by reason, missing keys."""
        held = " and ".join(self.branches) or "none"
        held += f" ({self.num_classes} classes)" if self.num_classes else ""
        lines = [f"{self.source} in {self.network}: {len(self.used)} keys used; branches in the file: {held}"]
        reasons: dict[str, list[str]] = {}
        for key, reason in self.unused.items():
            reasons.setdefault(reason, []).append(key)
        lines += [f"unused ({len(keys)}), {reason}: {some_names(keys)}" for reason, keys in reasons.items()]
        if self.missing:
            what = "" if self.refused else ", fresh parameters, to be trained"
            lines.append(f"missing ({len(self.missing)}){what}: {some_names(self.missing)}")
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join([*lines, *([f"refused: {self.refused}"] if self.refused else [])])

    def text(self) -> str:
        """The summary, then every key on a line of its own."""
        rows = [f"used     {theirs} -> {ours}" for theirs, ours in self.used.items()]
        rows += [f"unused   {theirs} ({reason})" for theirs, reason in self.unused.items()]
        rows += [f"missing  {ours}" for ours in self.missing]
        return "\n".join([self.summary(), *rows])


def open_checkpoint(
    name: str,
    file: str | Path,
    num_classes: int | None = None,
    seed: int = 0,
    spec: BackboneSpec | None = None,
) -> tuple[Backbone, KeyAccount]:
    """A frozen network with the weights of a checkpoint in any known layout, and the account of its keys.

    Args:
        name: A registered network that has a layout (``vgg16``, ``resnet50_28``, …).
        file: ``torch.save`` file (plain tensors, ``{"state_dict": …}``, ``module.`` prefixes) or safetensors.
        num_classes: Classes wanted; a checkpoint of another count is refused. Where the checkpoint has no classifier
            of this network, it gets a fresh one of this count and ``needs_training`` is set.
        seed: Of the parameters that the checkpoint lacks.
        spec: The network to build, where it is not the registered one of that name.

    Raises:
        UnknownNameError: No such network.
        WeightsError: The file is damaged, hostile, of another network or of another class count.
    """
    spec = spec or BACKBONES.get(name)
    layout = _known_layout(name)
    state = without_prefix(load_state(file), _fits(layout))
    found = classes_in(layout, state, str(file))
    if found is not None and num_classes is not None and found != num_classes:
        raise WeightsError(
            f"weights {file} have {found} classes, expected {num_classes}: the checkpoint is of another data set. "
            f"Open it without a class count and train a new head, or choose the checkpoint of {num_classes} classes"
        )
    # Parameters that the file lacks are the same in every run.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = spec.build(found if found is not None else num_classes)
        ours, account = translate(backbone, state, str(file))
        fill(backbone, ours, account)
    backbone.weights_source = f"file {Path(file).name}"
    return backbone.freeze(), account


def account_of(name: str, file: str | Path) -> KeyAccount:
    """What would become of every key of a checkpoint in a network, and whether it fits; nothing is loaded into one.

    Raises:
        UnknownNameError: No such network.
        WeightsError: The network has no layout; the file is damaged or hostile, or contradicts itself.
    """
    spec, layout = BACKBONES.get(name), _known_layout(name)
    state = without_prefix(load_state(file), _fits(layout))
    with torch.device("meta"):
        backbone = spec.build(classes_in(layout, state, str(file)))
    ours, account = translate(backbone, state, str(file))
    try:
        check_values(ours, account.source)
        _check_missing(backbone, ours, account)
        _check_shapes(backbone, ours, account)
    except WeightsError as error:
        return replace(account, refused=str(error))
    return account


def classes_in(layout: Layout, state: Mapping[str, Tensor], source: str) -> int | None:
    """Classes of the checkpoint's branches for this network; None where it has neither.

    Raises:
        WeightsError: The two branches have different class counts.
    """
    counts: dict[str, int] = {}
    for key, tensor in state.items():
        target = layout.target(key)
        if target is not None and target.startswith("heads.") and target.endswith(f"{layout.classifier}.weight"):
            counts[target.split(".")[1]] = len(tensor) if tensor.ndim else 0
    if len(set(counts.values())) > 1:
        shown = ", ".join(f"{branch} {count}" for branch, count in counts.items())
        raise WeightsError(f"weights {source}: its two branches have different class counts ({shown})")
    return next(iter(counts.values()), None)


def translate(backbone: Backbone, state: Mapping[str, Tensor], source: str) -> tuple[State, KeyAccount]:
    """The checkpoint's tensors under our keys, and the account of its keys. Nothing is loaded.

    Raises:
        WeightsError: The network has no layout, or two keys of the file name one parameter.
    """
    layout = _known_layout(backbone.name)
    own = backbone.state_dict()
    state = without_prefix(state, _fits(layout))
    numbers = _renumbering(layout, state, own)
    last = own[f"heads.softmax.{layout.classifier}.weight"].shape[1:]
    ours: State = {}
    used: dict[str, str] = {}
    unused: dict[str, str] = {}
    for key, tensor in state.items():
        target = layout.target(_renumbered(key, numbers))
        like = None if target is None else own.get(target.replace("heads.sigmoid.", "heads.softmax."))
        if target is None or like is None:
            unused[key] = layout.reason(key) or (
                _PERHAPS if tensor.shape[1:] == last and tensor.ndim == 2 else f"{backbone.name} has no such layer"
            )
            continue
        if target in ours:
            raise WeightsError(f"weights {source}: two keys name the parameter {target}; {key} is the second")
        # A 1×1 convolution as the classifier holds the linear layer's weights.
        pointwise = tensor.ndim == 4 and like.ndim == 2 and tensor.shape[2:] == (1, 1)
        ours[target] = tensor.flatten(1) if pointwise else tensor
        used[key] = target
    missing = tuple(k for k in own if k not in ours and not k.endswith("num_batches_tracked"))
    branches = tuple(b for b in _BRANCHES if any(k.startswith(f"heads.{b}.") for k in ours))
    notes, classes = _notes(backbone.name, state), classes_in(layout, state, source)
    return ours, KeyAccount(backbone.name, source, used, unused, missing, branches, notes, classes)


def fill(backbone: Backbone, ours: State, account: KeyAccount) -> None:
    """Load translated tensors; layers that ImageNet's network lacks may be missing as a whole and stay fresh.

    ``needs_training`` is set where any of them is missing. A sigmoid branch is added where the file has one.

    Raises:
        WeightsError: Other parameters are missing, shapes differ, or values are not finite numbers.
    """
    check_values(ours, account.source)
    _check_missing(backbone, ours, account)
    if "sigmoid" in account.branches:
        backbone.heads["sigmoid"] = backbone.head("softmax").fresh()
    fresh = {key: tensor for key, tensor in backbone.state_dict().items() if key in account.missing}
    apply_state(backbone, {**fresh, **ours}, account.source)
    backbone.needs_training = bool(account.missing)


def _known_layout(name: str) -> Layout:
    layout = layout_of(name)
    if layout is None:
        raise WeightsError(f"{name}: no layout of published checkpoints is known for this network")
    return layout


def _check_missing(backbone: Backbone, ours: State, account: KeyAccount) -> None:
    base, _, wanted = backbone.name.partition("+")
    held = method_of([*account.used, *account.unused])
    if held and held != wanted and "softmax" not in account.branches:
        raise WeightsError(
            f"weights {account.source} do not fit {backbone.name}: {held} trained the network that they are of; open "
            f"them as {base}+{held}"
        )
    own = backbone.state_dict()
    groups = [g for g in _known_layout(backbone.name).fresh if any(k.startswith(g) for k in own)]
    absent = [g for g in groups if not any(k.startswith(g) for k in ours)]
    wrong = [k for k in account.missing if not k.startswith(tuple(absent))] if absent else list(account.missing)
    if wrong:
        other = f"; unused: {some_names(account.unused)}" if account.unused else ""
        raise WeightsError(
            f"weights {account.source} do not fit {backbone.name}. missing: {some_names(wrong)}{other}"
            f"{one_of_several(account.source)}"
        )
    if "heads.softmax." in absent and (unread := _classifier_by_another_name(account)):
        ours_is, *_ = (theirs for theirs, mine in _known_layout(backbone.name).renamed if "heads.softmax." in mine)
        raise WeightsError(
            f"weights {account.source} do not fit {backbone.name}. {unread} is a classifier by another name: "
            f"rename it to {ours_is}weight, and its bias to {ours_is}bias; or leave both out, and a new one is trained"
        )
    body = [g for g in absent if g.startswith("body.")]
    if body and account.branches:
        raise WeightsError(
            f"weights {account.source} do not fit {backbone.name}: they have a classifier but not the layers before it "
            f"({', '.join(g.rstrip('.') for g in body)})"
        )


def _classifier_by_another_name(account: KeyAccount) -> str:
    """The one linear layer of a file that nothing reads and that could be the classifier, by its name; else empty."""
    found = [k for k, why in account.unused.items() if why == _PERHAPS]
    return found[0] if len(found) == 1 and "proj" not in found[0] else ""


def _check_shapes(backbone: Backbone, ours: State, account: KeyAccount) -> None:
    own = backbone.state_dict()
    like = {k: own[k.replace("heads.sigmoid.", "heads.softmax.")].shape for k in ours}
    odd = [f"{k} {tuple(t.shape)}, expected {tuple(like[k])}" for k, t in ours.items() if t.shape != like[k]]
    if odd:
        raise WeightsError(f"weights {account.source} do not fit {backbone.name}. of another shape: {some_names(odd)}")


def _renumbering(layout: Layout, state: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, dict[str, str]]:
    """For each numbered group: their number -> ours, in order. Layers without parameters shift the numbers."""
    numbers: dict[str, dict[str, str]] = {}
    for group in layout.numbered:
        theirs, mine = _numbers(group, state), _numbers(f"body.{group}", own)
        if len(theirs) == len(mine):
            numbers[group] = {str(a): str(b) for a, b in zip(theirs, mine, strict=True)}
    return numbers


def _numbers(group: str, keys: Iterable[str]) -> list[int]:
    found = (re.match(re.escape(group) + r"(\d+)\.", key) for key in keys)
    return sorted({int(match[1]) for match in found if match})


def _renumbered(key: str, numbers: Mapping[str, Mapping[str, str]]) -> str:
    for group, table in numbers.items():
        number, dot, rest = key.removeprefix(group).partition(".")
        if key.startswith(group) and dot and number in table:
            return f"{group}{table[number]}.{rest}"
    return key


def _notes(name: str, state: Mapping[str, Tensor]) -> tuple[str, ...]:
    if not name.startswith("vgg16"):
        return ()
    if any(key.startswith(RETHINKING_CAM) for key in state):
        plain = name.partition("+")[0]
        return (
            f"a file of Rethinking CAM's code, which does not say how it pools: {plain} reads it with global average "
            f"pooling, {plain}+tap with thresholded average pooling of {THRESHOLD}, as in that code's configuration",
        )
    large = tuple(_numbers("features.", state)[-3:]) == _VGG_CONVS_28
    if large and not name.endswith("_28"):
        return (f"the layer numbers are those of a network without pool4 (28×28): open it as {name}_28",)
    return ()


def _fits(layout: Layout) -> Callable[[str], bool]:
    return lambda key: layout.target(key) is not None or layout.reason(key) is not None
