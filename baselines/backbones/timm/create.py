"""timm models by name: built for images of their own size, with timm's weights, a file's, or random ones."""

from __future__ import annotations

from typing import Any

from torch import nn

from ....registry import UnknownNameError
from ...weights.file_names import State
from ...weights.weight_files import WeightsError, apply_state, network_in
from .layout import unsupported

PROBE_SIZE = 224
"""Side in pixels of the images of networks that take any size."""


def create(model_name: str, *, pretrained: bool, num_classes: int | None = None, size: int | None = None) -> nn.Module:
    """A timm model for images of its own size, at least ``PROBE_SIZE``, or of ``size`` pixels a side where given.

    Raises:
        UnknownNameError: timm has no such model; the message lists the nearest names.
        WeightsError: Its pretrained weights cannot be had.
    """
    # Here and below: importing timm takes as long as importing torch, and most runs have no network of it.
    import timm

    if not model_name.startswith(("hf_hub:", "hf-hub:", "local-dir:")) and not timm.is_model(model_name):
        raise UnknownNameError("timm model", model_name, timm.list_models())
    options: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    config = timm.get_pretrained_cfg(model_name.split(".")[0]) if timm.is_model(model_name) else None
    if size is None and config is not None and config.fixed_input_size and config.input_size[-1] < PROBE_SIZE:
        size = PROBE_SIZE
    if size is not None:
        options["img_size"] = size
    try:
        model: nn.Module = timm.create_model(model_name, pretrained=pretrained, **options)
    except Exception as error:
        if not pretrained:
            raise unsupported(f"timm:{model_name}", f"timm cannot build it ({error})") from error
        raise WeightsError(
            f"timm:{model_name}: its pretrained weights cannot be had ({type(error).__name__}: {error}). "
            "Give a file with --weights FILE, or --no-pretrained (a training recipe: init: random)"
        ) from error
    if lacks_classifier(model_name) and num_classes is None:
        # Feature extractors come without a classifier; a fresh one stands in until the data's classes are known.
        model.reset_classifier(1)  # type: ignore[operator]
    return model


def fixed_size(model: nn.Module) -> int | None:
    """The one side in pixels that a timm model was built for; None where it takes any, or ``PROBE_SIZE``.

    Raises:
        UnsupportedNetworkError: It takes images of one size that is not square.
    """
    config = getattr(model, "pretrained_cfg", None) or {}
    sides = getattr(getattr(model, "patch_embed", None), "img_size", None)
    if sides is None and config.get("fixed_input_size"):
        sides = config["input_size"][-2:]
    sides = set(sides) if isinstance(sides, tuple | list) else {sides}
    if len(sides) > 1:
        raise unsupported(
            f"timm:{config.get('architecture', '')}", f"its images are not square: {sorted(sides)} pixels"
        )
    side = sides.pop()
    return None if side in (None, PROBE_SIZE) else int(side)


def lacks_classifier(model_name: str) -> bool:
    """Whether timm's model is a feature extractor without classes of its own."""
    import timm

    config = timm.get_pretrained_cfg(model_name) if timm.is_model(model_name) else None
    return config is not None and config.num_classes == 0


def create_from_state(model_name: str, state: State, file: str) -> nn.Module:
    """A timm model with the weights of a file in timm's own key names; its classes are those of the file."""
    model = create(model_name, pretrained=False)
    names, state = classifier_names(model), network_in(state, model.state_dict(), file)
    weight = state.get(f"{names[0]}.weight") if names else None
    if weight is not None and len(weight) != model.num_classes:
        model = create(model_name, pretrained=False, num_classes=len(weight))
    apply_state(model, state, file)
    return model


def classifier_names(model: nn.Module) -> tuple[str, ...]:
    """Names of the model's last layers, as timm states them; usually one."""
    config = getattr(model, "pretrained_cfg", None) or {}
    names = config.get("classifier") or ()
    return (names,) if isinstance(names, str) else tuple(names)
