"""Archives that are read in place: links, devices and names that lead elsewhere are no members."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from cambench.datasets.disk.archives import index_tar, member_path, read_member
from cambench.datasets.disk.trees import TarTree
from cambench.datasets.schema import DatasetError


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


@pytest.mark.parametrize("kept", [0, 1, 2, 3])
@pytest.mark.parametrize("more", [0, 1, 300, 512, 700])
def test_an_archive_that_ends_anywhere_before_its_end_mark_is_incomplete(tmp_path: Path, kept: int, more: int) -> None:
    """``tarfile`` takes a cut between members, or within a header, for the end of the archive."""
    whole = tmp_path / "x.tar"
    with tarfile.open(whole, "w") as tar:
        for name in "abcd":
            info = tarfile.TarInfo(name)
            info.size = 700
            tar.addfile(info, io.BytesIO(bytes(range(1, 251)) * 2 + bytes(200)))
    assert list(index_tar(whole)) == list("abcd")
    cut = tmp_path / "cut.tar"
    cut.write_bytes(whole.read_bytes()[: kept * 1536 + more])
    with pytest.raises(DatasetError, match="not a complete tar archive"):
        index_tar(cut)
    cut.write_bytes(whole.read_bytes()[: kept * 1536] + b"no header" * 200)
    with pytest.raises(DatasetError, match="not a complete tar archive"):
        index_tar(cut)
