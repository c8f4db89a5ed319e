"""One Parquet part: the columns of one shard of one triple."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from ...atomic import atomic_path
from ...text import first_line, plain_text
from ...triple import Triple, file_name
from .record_errors import RecordError

Array = npt.NDArray[Any]

_KEY, _LAYOUT = b"cambench.key", b"cambench.layout"
_ENCODINGS = {"double": "BYTE_STREAM_SPLIT", "int64": "DELTA_BINARY_PACKED"}
"""Of Parquet columns by type: the bytes of floats side by side, differences of row numbers."""


def part_path(out: Path, triple: str, shard: int) -> Path:
    """``OUT/records/<backbone>/<cam>/<head>/part-00003.parquet``, each name percent-encoded."""
    return out.joinpath("records", *map(file_name, Triple.parse(triple).names), f"part-{shard:05d}.parquet")


class PartMark(BaseModel):
    """What a shard's marker says of a part, so that any change of the file shows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: str
    """``RunManifest.record_key`` of the triple when it was written."""
    bytes: int
    """Size of the file."""
    crc32: int
    """CRC-32 of the file."""
    metric_codes: dict[str, str] = Field(default_factory=dict)
    """``RunManifest.metric_codes`` when its columns were computed."""
    lost_metrics: list[str] = Field(default_factory=list)
    """Metrics that failed on the shard: their columns are missing."""


def write_part(path: Path, columns: Mapping[str, Array], key: str) -> PartMark:
    """Write a part atomically; returns its mark.

    A column of more than one dimension becomes fixed-size binary; its dtype and shape are in the field's metadata.
    """
    arrays, fields = zip(*(_to_arrow(name, value) for name, value in columns.items()), strict=True)
    schema = pa.schema(list(fields), metadata={_KEY: key.encode()})
    table = pa.Table.from_arrays(list(arrays), schema=schema)
    # Not by name: pyarrow takes the folder runs:3 for a URL.
    sink = pa.BufferOutputStream()
    # Chosen by measurement: 80 bytes a row of a box data set in place of 102 with dictionaries, which few columns of a
    # shard repay. Statistics would repeat whole histograms as the minimum and maximum of their column.
    pq.write_table(
        table,
        sink,
        compression="zstd",
        compression_level=9,
        use_dictionary=False,
        column_encoding={f.name: e for f in fields if (e := _ENCODINGS.get(str(f.type)))},
        write_page_checksum=True,
        write_statistics=False,
    )
    content = sink.getvalue()
    with atomic_path(path) as temp:
        temp.write_bytes(content)
    return PartMark(key=key, bytes=len(content), crc32=zlib.crc32(content))


def check_part(path: Path, mark: PartMark, key: str) -> str | None:
    """What is wrong with a part (None where nothing is): missing, truncated, changed, written under another key."""
    if mark.key != key:
        return f"{path}: written under another key (protocol, data set, weights or version)"
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return f"{path}: missing"
    except OSError as error:
        return f"{path}: cannot be read ({error.strerror})"
    if len(content) != mark.bytes:
        return f"{path}: has {len(content)} bytes, {mark.bytes} were written; truncated or changed"
    if zlib.crc32(content) != mark.crc32:
        return f"{path}: its content has changed since it was written (CRC-32)"
    return None


def read_part(path: Path, names: Sequence[str] | None = None) -> dict[str, Array]:
    """Columns of a part (all for None); ``RecordError`` names the file that is damaged or lacks a column."""
    try:
        with path.open("rb") as opened, pq.ParquetFile(opened, page_checksum_verification=True) as file:
            schema = file.schema_arrow
            wanted = list(schema.names if names is None else names)
            lacking = [name for name in wanted if name not in schema.names]
            if lacking:
                raise RecordError(f"{path}: has no column {', '.join(lacking)}")
            table = file.read(columns=wanted)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise RecordError(f"{path}: damaged ({first_line(error)}); run again with the same --out to redo it") from error
    return {name: _from_arrow(table.column(name), schema.field(name)) for name in wanted}


def column_names(path: Path) -> list[str]:
    """Names of a part's columns."""
    with path.open("rb") as opened:
        names: list[str] = pq.read_schema(opened).names
    return names


def _to_arrow(name: str, value: Array) -> tuple[Any, Any]:
    if value.dtype == object:
        array = pa.array([plain_text(str(v)) for v in value], type=pa.string())
        return array, pa.field(name, pa.string(), nullable=False)
    if value.ndim == 1:
        array = pa.array(value)
        return array, pa.field(name, array.type, nullable=False)
    width = value.itemsize * int(np.prod(value.shape[1:]))
    buffers = [None, pa.py_buffer(np.ascontiguousarray(value).tobytes())]
    array = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(value), buffers)
    layout = json.dumps({"dtype": value.dtype.str, "shape": value.shape[1:]}).encode()
    return array, pa.field(name, pa.binary(width), nullable=False, metadata={_LAYOUT: layout})


def _from_arrow(column: Any, field: Any) -> Array:
    layout = (field.metadata or {}).get(_LAYOUT)
    if layout is None:
        plain: Array = column.to_numpy()
        return plain
    described = json.loads(layout)
    chunks = [_bytes(chunk) for chunk in column.chunks]
    raw = np.frombuffer(b"".join(chunks), dtype=described["dtype"])
    return raw.reshape(len(column), *described["shape"])


def _bytes(chunk: Any) -> bytes:
    width = chunk.type.byte_width
    start = chunk.offset * width
    content: bytes = chunk.buffers()[1][start : start + len(chunk) * width].to_pybytes()
    return content
