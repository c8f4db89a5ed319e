"""Homes that nobody knows: another user's that is not there, and one's own in a container without a name."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cambench.datasets.open import open_table
from cambench.datasets.schema import DatasetError
from cambench.datasets.tables.cache import cache_root
from cambench.home import expanded


def test_an_unknown_users_home_stays_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expanded("~/x") == tmp_path / "x"
    assert expanded("~nobody-of-this-name/x") == Path("~nobody-of-this-name/x")
    with pytest.raises(DatasetError, match="root ~nobody-of-this-name does not exist"):
        open_table("folder", "~nobody-of-this-name")


def test_without_a_home_the_cache_asks_for_a_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    monkeypatch.delenv("CAMBENCH_CACHE", raising=False)
    with pytest.raises(DatasetError, match="no home folder is known for the cache: set HOME, or CAMBENCH_CACHE"):
        cache_root()
    monkeypatch.setenv("CAMBENCH_CACHE", str(tmp_path))
    assert cache_root() == tmp_path
    monkeypatch.setenv("CAMBENCH_CACHE", "a\udcffb")
    with pytest.raises(DatasetError, match="cache folder .* is not UTF-8; set CAMBENCH_CACHE"):
        cache_root()


def test_no_file_asks_for_a_home_in_a_way_that_raises() -> None:
    root = Path(__file__).parents[1]
    rooms = ("baselines", "bench", "datasets", "metrics", "results")
    files = [*root.glob("*.py"), *(file for room in rooms for file in (root / room).rglob("*.py"))]
    asking = [f.name for f in files if f.name != "home.py" and ".expanduser(" in f.read_text(encoding="utf-8")]
    assert not asking
