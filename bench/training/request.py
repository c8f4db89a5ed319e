"""What the training commands are told, checked, and written into their checkpoints."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..host.errors import UsageError

if TYPE_CHECKING:
    from ...datasets.schema import SampleTable
    from .recipe import Recipe

R = TypeVar("R", bound="Recipe")


@dataclass(frozen=True)
class TrainingRequest:
    """What both training verbs are told about data, device and output; checked when it is made.

    Raises:
        UsageError: The output exists or has another suffix; no such device.
    """

    output: Path
    dataset: str
    root: Path | None
    options: dict[str, str]
    split: str
    evaluate: str | None
    limit: int | None
    device_name: str

    def __post_init__(self) -> None:
        if self.output.suffix != ".safetensors":
            raise UsageError(f"--out {self.output}: expected a name ending in .safetensors")
        if self.output.exists():
            raise UsageError(f"--out {self.output} exists; delete it, or choose another name")
        _ = self.device

    @property
    def device(self) -> str:
        """The device, with ``auto`` decided."""
        from ..host.device import pick_device

        return pick_device(self.device_name)

    def tables(self) -> tuple[SampleTable, ...]:
        """The training split, and the evaluation split where there is one; DatasetError where data is missing."""
        from ...datasets.open import open_table

        tables = (open_table(self.dataset, self.root, self.split, **self.options).head(self.limit),)
        if self.evaluate in (None, "none", self.split):
            return tables
        return (*tables, open_table(self.dataset, self.root, str(self.evaluate), **self.options))


def changed(recipe: R, **fields: Any) -> R:
    """A recipe with the fields that the command line gave (None: not given), checked again."""
    given = {k: v for k, v in fields.items() if v is not None}
    if not given:
        return recipe
    from pydantic import ValidationError

    try:
        return type(recipe)(**{**recipe.model_dump(), **given})
    except ValidationError as error:
        raise UsageError("; ".join(f"--{e['loc'][0]}: {e['msg']}" for e in error.errors())) from None


def command_line(verb: str, **options: Any) -> str:
    """The command that does it again; files by name only, so that no path of this machine is written down."""
    parts = ["cambench", "train", verb]
    for name, value in options.items():
        if value is not None:
            parts += [f"--{name}", str(value)]
    return shlex.join(parts)
