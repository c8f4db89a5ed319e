"""The paper's tables as data."""

from __future__ import annotations

from importlib.resources import files
from typing import Literal, get_args

import pandas as pd

from ..records.record_errors import ResultsError

TableName = Literal["table1", "table2"]


def published_table(name: str) -> pd.DataFrame:
    """Table 1 or 2 of *Beyond Softmax* (BMVC 2025), one row per printed number.

    Args:
        name: ``table1`` (fidelity, CUB and Stanford Cars) or ``table2`` (localisation, ImageNet-1K and OpenImages-30K).

    Returns:
        Columns table, backbone, cam, head, dataset, metric (names of this project), value (percent), printed_change
        (points, NaN for base rows).

    Raises:
        ResultsError: No such table.
    """
    known = get_args(TableName)
    if name not in known:
        raise ResultsError(f"no published table {name!r}; known: {', '.join(known)}")
    with (files(__package__) / f"{name}.csv").open("rb") as file:
        return pd.read_csv(file)
