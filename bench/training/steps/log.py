"""Curves of a training for TensorBoard (an extra of the package), through Fabric's logger."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ...host.errors import UsageError

if TYPE_CHECKING:
    from lightning_fabric.loggers import TensorBoardLogger


class TrainingLog:
    """Writes scalars by step; without a folder it does nothing.

    Args:
        folder: Where TensorBoard's event files go, or None.

    Raises:
        UsageError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._logger: TensorBoardLogger | None = None
        if folder is not None:
            try:
                import torch.utils.tensorboard  # noqa: F401
            except ModuleNotFoundError as error:
                raise UsageError(
                    "TensorBoard is not installed: pip install 'cambench[tensorboard]', or leave out --tensorboard"
                ) from error

    def begin(self, step: int, facts: str) -> None:
        """Start at a step (later events of an interrupted training are dropped) with a text of what is trained."""
        if self._folder is not None:
            from lightning_fabric.loggers import TensorBoardLogger

            self._logger = TensorBoardLogger(self._folder, name="", version="", purge_step=step)
            self._logger.experiment.add_text("recipe", f"```json\n{facts}\n```", step)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Values under their names at a step."""
        if self._logger is not None:
            self._logger.log_metrics(values, step)

    def close(self) -> None:
        """Flush and close the files."""
        if self._logger is not None:
            self._logger.finalize("done")
            self._logger = None
