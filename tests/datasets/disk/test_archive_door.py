"""Archives that are read in place: links, devices and names that lead elsewhere are no members."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from cambench.datasets.disk.archives import index_tar, member_path, read_member
from cambench.datasets.disk.trees import TarTree


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secret.txt"
    path.write_text("secret")
    return path


def test_links_and_devices_are_no_members(tmp_path: Path, secret: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, kind in (("link", tarfile.SYMTYPE), ("hard", tarfile.LNKTYPE), ("device", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, str(secret)
            tar.addfile(info)
    assert index_tar(tmp_path / "x.tar") == {}


@pytest.mark.parametrize("name", ["../secret.txt", "/etc/hostname", "a/../../secret.txt"])
def test_a_members_name_is_no_path(tmp_path: Path, secret: Path, name: str) -> None:
    """The bytes are those of the archive, wherever the name would lead."""
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        info = tarfile.TarInfo(name)
        info.size = 5
        tar.addfile(info, io.BytesIO(b"inner"))
    members = index_tar(tmp_path / "x.tar")
    (found,) = members
    assert read_member(member_path(tmp_path / "x.tar", found, *members[found])) == b"inner"
    assert TarTree(tmp_path / "x.tar").lines(found) == ["inner"]
