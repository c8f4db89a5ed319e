"""Curves of a training for TensorBoard, an extra of the package."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..host.errors import UsageError


class TrainingLog:
    """Writes scalars by step; without a folder it does nothing.

    Args:
        folder: Where TensorBoard's event files go, or None.

    Raises:
        UsageError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._writer: Any = None
        if folder is not None:
            self._summary_writer()

    def begin(self, step: int, facts: str) -> None:
        """Start at a step (later events of an interrupted training are dropped) with a text of what is trained."""
        if self._folder is not None:
            self._writer = self._summary_writer()(str(self._folder), purge_step=step)
            self._writer.add_text("recipe", f"```json\n{facts}\n```", step)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Values under their names at a step."""
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush and close the files."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    @staticmethod
    def _summary_writer() -> Any:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ModuleNotFoundError as error:
            raise UsageError(
                "TensorBoard is not installed: pip install 'cambench[tensorboard]', or leave out --tensorboard"
            ) from error
        return SummaryWriter
