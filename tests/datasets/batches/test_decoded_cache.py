"""Decoded images kept between runs: the same pixels as decoding gives, whatever happens to the file."""

import errno
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sample_tables import table_of

from cambench.datasets.batches import decoded_cache
from cambench.datasets.batches.decoded_cache import with_decoded_cache
from cambench.datasets.batches.loading import load_batches

SIZE = 32
ROW = 64 + 3 * SIZE * SIZE
COUNT = 9


@pytest.fixture
def table(tmp_path):
    paths, random = [], np.random.default_rng(0)
    for i in range(COUNT):
        paths.append(tmp_path / f"{i}.png")
        Image.fromarray(random.integers(0, 256, (40 + i, 50, 3), dtype=np.uint8)).save(paths[-1])
    return table_of(paths)


def pixels(table, size=SIZE, crop_from=None, workers=2):
    batches = list(load_batches(table, range(len(table)), size, 4, workers, crop_from=crop_from))
    boxes = np.concatenate([b for batch in batches for b in batch.gt_boxes])
    return torch.cat([b.images for b in batches]), boxes


def kept(table, folder, limit=1 << 20, size=SIZE, crop_from=None, said=None):
    return with_decoded_cache(table, folder, limit, size, crop_from, (said if said is not None else []).append)


def same(table, size=SIZE, crop_from=None):
    """Whether what the table's cache gives is what decoding gives; images that were there, and that were not."""
    (found, boxes), (right, right_boxes) = (
        pixels(table, size, crop_from),
        pixels(replace(table, decoded=None), size, crop_from),
    )
    assert torch.equal(found, right)
    assert np.array_equal(boxes, right_boxes)
    cache = table.decoded
    told = cache.found, cache.missed
    cache.close()
    return told


def test_a_second_run_takes_what_the_first_one_decoded(table, tmp_path):
    folder, said = tmp_path / "kept", []
    assert same(kept(table, folder, said=said)) == (0, COUNT)
    assert same(kept(table, folder, said=said)) == (COUNT, 0)
    assert not said
    (file,) = folder.iterdir()
    assert file.stat().st_size <= COUNT * ROW + 1


def test_the_first_rows_of_a_split_share_its_file(table, tmp_path):
    same(kept(table, tmp_path / "kept"))
    assert same(kept(table.head(3), tmp_path / "kept")) == (3, 0)


def test_another_size_or_crop_is_another_file_and_a_changed_picture_is_decoded_anew(table, tmp_path):
    folder = tmp_path / "kept"
    same(kept(table, folder))
    assert same(kept(table, folder, size=16), 16) == (0, COUNT)
    assert same(kept(table, folder, crop_from=40), crop_from=40) == (0, COUNT)
    assert same(kept(replace(table, facts={"exif": "apply"}), folder)) == (0, COUNT)
    assert same(kept(replace(table, fingerprint="other"), folder)) == (0, COUNT)
    picture = tmp_path / "4.png"
    Image.fromarray(np.full((44, 50, 3), 7, np.uint8)).save(picture)
    assert same(kept(table, folder)) == (COUNT - 1, 1)
    picture.unlink()
    (failed,) = [f for b in load_batches(kept(table, folder), range(COUNT), SIZE, 4, 2) for f in b.failures]
    assert failed.index == 4


def test_a_cache_of_another_size_is_not_asked(table, tmp_path):
    cached = kept(table, tmp_path / "kept")
    assert torch.equal(pixels(cached, 16)[0], pixels(table, 16)[0])
    assert (cached.decoded.found, cached.decoded.missed) == (0, 0)


@pytest.mark.parametrize("place", [0, 17, 21, 30, 64, ROW - 1])
def test_a_flipped_bit_gives_no_wrong_number(place, table, tmp_path):
    folder = tmp_path / "kept"
    same(kept(table, folder))
    (file,) = folder.iterdir()
    data = bytearray(file.read_bytes())
    for row in range(COUNT):
        data[row * ROW + place] ^= 1 << (row % 8)
    file.write_bytes(data)
    assert same(kept(table, folder)) == (0, COUNT)
    assert same(kept(table, folder)) == (COUNT, 0)


@pytest.mark.parametrize("left", [0, 1, ROW - 1, 3 * ROW + 70])
def test_a_file_that_was_cut_gives_no_wrong_number(left, table, tmp_path):
    folder = tmp_path / "kept"
    same(kept(table, folder))
    (file,) = folder.iterdir()
    os.truncate(file, left)
    assert same(kept(table, folder)) == (left // ROW, COUNT - left // ROW)


def test_no_more_is_kept_than_there_is_room_for(table, tmp_path):
    folder, said = tmp_path / "kept", []
    assert same(kept(table, folder, limit=4 * ROW + 5)) == (0, COUNT)
    assert same(kept(table, folder, limit=4 * ROW + 5)) == (4, COUNT - 4)
    assert kept(table, folder, limit=ROW - 1, said=said).decoded is None
    assert said == [f"decoded images are not kept: one takes {ROW:,} bytes, and there is room for {ROW - 1:,}"]


def test_what_is_removed_for_another_split_is_the_longest_unused_and_is_said(table, tmp_path):
    folder, said, files = tmp_path / "kept", [], {}
    limit = 5 * COUNT * ROW // 2  # two splits fit
    for number, name in enumerate(("a", "b", "c")):
        cached = kept(replace(table, fingerprint=name), folder, limit, said=said)
        same(cached)
        files[name] = cached.decoded.file
        os.utime(files[name], (number, number))
        if name == "b":
            same(kept(replace(table, fingerprint="a"), folder, limit, said=said))  # used anew
    assert {name for name, file in files.items() if file.exists()} == {"a", "c"}
    (line,) = said
    assert "of earlier runs were removed" in line
    small = kept(replace(table, fingerprint="a"), folder, 2 * ROW, said=said)
    assert list(folder.iterdir()) == [small.decoded.file]
    assert same(small) == (0, COUNT)


def test_a_full_disk_is_a_sentence_and_stops_nothing(table, tmp_path, monkeypatch):
    said = []
    cached = kept(table, tmp_path / "kept", said=said)
    calls = []

    class Full:
        def seek(self, at):
            calls.append(at)

        def write(self, data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def close(self):
            pass

    monkeypatch.setattr(cached.decoded, "_sink", Full())
    assert same(cached) == (0, COUNT)
    assert len(calls) == 1
    (line,) = said
    assert "cannot be written (No space left on device); no more are kept" in line


def test_a_folder_that_cannot_be_written_is_a_sentence(table, tmp_path):
    (tmp_path / "kept").write_text("a file")
    said = []
    assert kept(table, tmp_path / "kept", said=said).decoded is None
    assert "decoded images are not kept" in said[0]


def read_all(table, folder):
    """In a process of its own."""
    cached = kept(table, folder)
    found = [pixels(cached)[0] for _ in range(3)]
    return [f.numpy() for f in found]


def test_two_processes_at_once_read_right_pixels(table, tmp_path, monkeypatch):
    # The processes import this file by its name in the tree.
    monkeypatch.syspath_prepend(Path(__file__).parents[3])
    right = pixels(table)[0].numpy()
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(read_all, table, tmp_path / "kept") for _ in range(2)]
        assert all(np.array_equal(found, right) for job in jobs for found in job.result())
    assert same(kept(table, tmp_path / "kept")) == (COUNT, 0)


def test_rows_with_pictures_as_bytes_are_kept_too(table, tmp_path):
    rows = [
        dict(row, image={"bytes": (tmp_path / f"{i}.png").read_bytes(), "path": None})
        for i, row in enumerate(table.rows)
    ]
    inside = replace(table, rows=type(table.rows).from_list(rows, features=table.rows.features))
    same(kept(inside, tmp_path / "kept"))
    assert same(kept(inside, tmp_path / "kept")) == (COUNT, 0)
    assert decoded_cache.stamp_of(inside.rows[0]) != decoded_cache.stamp_of(inside.rows[1])
