"""What a worker is at, seen from outside: by the locks that it holds."""

import json
from pathlib import Path

import psutil
import pytest


def finished(out):
    """Whether ``run.json`` says that all shards are there."""
    try:
        return bool(json.loads((out / "run.json").read_text())["finished"])
    except (OSError, ValueError):
        return False


def moments_of(process, out):
    """Of ``head`` (trains one), ``shard`` (computes one), ``tables`` (writes them) and ``any`` those that are now."""
    try:
        held = [Path(file.path).name for file in psutil.Process(process).open_files() if str(out) in file.path]
    except psutil.Error:
        return set()
    heads = any(name.endswith(("softmax", "sigmoid")) for name in held)
    shards = not heads and any(name.startswith("slim_") for name in held)
    closing = any(".rank" in name for name in held) and finished(out)
    return {"any", *(name for name, now in (("head", heads), ("shard", shards), ("tables", closing)) if now)}


def tables(out):
    """The tables whose bytes do not depend on who computed what."""
    return {name: (out / "tables" / name).read_bytes() for name in ("scores.md", "scores.csv", "scores.tex")}


@pytest.fixture(name="moments_of")
def _moments_of():
    return moments_of


@pytest.fixture(name="tables")
def _tables():
    return tables
