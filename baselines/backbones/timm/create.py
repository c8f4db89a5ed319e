"""timm models by name: built for images of the benchmark's size, with timm's weights, a file's, or random ones."""

from __future__ import annotations

from typing import Any

from torch import nn

from ....registry import UnknownNameError
from ...weights.file_names import State, without_prefix
from ...weights.weight_files import WeightsError, apply_state
from .layout import unsupported

PROBE_SIZE = 224
"""Side in pixels of the images that every network is built for."""


def create(model_name: str, *, pretrained: bool, num_classes: int | None = None) -> nn.Module:
    """A timm model for images of 224×224 pixels.

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
    if config is not None and config.fixed_input_size and config.input_size[-1] != PROBE_SIZE:
        options["img_size"] = PROBE_SIZE
    try:
        model: nn.Module = timm.create_model(model_name, pretrained=pretrained, **options)
    except Exception as error:
        if not pretrained:
            raise unsupported(
                f"timm:{model_name}", f"timm cannot build it for images of 224×224 pixels ({error})"
            ) from error
        raise WeightsError(
            f"timm:{model_name}: its pretrained weights cannot be had ({type(error).__name__}: {error}). "
            "Give a file with --weights FILE, or --no-pretrained (a training recipe: init: random)"
        ) from error
    if lacks_classifier(model_name) and num_classes is None:
        # Feature extractors come without a classifier; a fresh one stands in until the data's classes are known.
        model.reset_classifier(1)  # type: ignore[operator]
    return model


def lacks_classifier(model_name: str) -> bool:
    """Whether timm's model is a feature extractor without classes of its own."""
    import timm

    config = timm.get_pretrained_cfg(model_name) if timm.is_model(model_name) else None
    return config is not None and config.num_classes == 0


def create_from_state(model_name: str, state: State, file: str) -> nn.Module:
    """A timm model with the weights of a file in timm's own key names; its classes are those of the file."""
    model = create(model_name, pretrained=False)
    names, state = classifier_names(model), without_prefix(state, model.state_dict().__contains__)
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
