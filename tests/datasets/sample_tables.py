"""Tables of pictures on disk, without an adapter."""

from pathlib import Path

import datasets as hf

from cambench.datasets.schema import SampleTable, sample_features


def table_of(paths: list[Path], **columns: list[object]) -> SampleTable:
    """One row a picture, of two classes in turn, with a box each; ``columns`` replace what a row has by default."""
    n = len(paths)
    data = {
        "image_id": [f"{i}:{p.name}" for i, p in enumerate(paths)],
        "image": [{"bytes": None, "path": str(p)} for p in paths],
        "label": [i % 2 for i in range(n)],
        "width": [None] * n,
        "height": [None] * n,
        "boxes": [[[0.0, 0.0, 10.0, 10.0]]] * n,
        "masks": [[]] * n,
        "ignore": [None] * n,
        "evidence": [None] * n,
        **columns,
    }
    rows = hf.Dataset.from_dict(data, features=sample_features(["a", "b"]))
    return SampleTable("t", "test", rows, ("a", "b"), "f", True, "masks" in columns, "evidence" in columns)
