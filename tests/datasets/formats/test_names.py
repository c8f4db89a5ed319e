"""Names over an Arrow array against a plain list."""

from __future__ import annotations

import pyarrow as pa
import pytest

from cambench.datasets.formats.wsol.wsol_names import Names

WORDS = [f"train/{i % 7}/é{i}.jpg" for i in range(200_000)]


def test_a_sequence_like_a_list():
    names = Names(WORDS)
    assert len(names) == len(WORDS)
    assert list(names) == WORDS
    assert (names[3], names[-1]) == (WORDS[3], WORDS[-1])
    for part in (slice(5, 70_000), slice(199_990, 300_000), slice(None, None, 40_000), slice(9, 2)):
        assert names[part] == WORDS[part]
    assert names.row_of[WORDS[150_000]] == 150_000
    with pytest.raises(IndexError):
        names[len(WORDS)]


def test_repeats_and_positions():
    names = Names(WORDS)
    assert not names.may_repeat()
    assert Names([*WORDS, WORDS[8]]).may_repeat()
    assert names.positions(pa.chunked_array([WORDS[:9], WORDS[9:]])).tolist() == list(range(len(WORDS)))
    assert names.positions(pa.chunked_array([[WORDS[4], WORDS[2], WORDS[4]]])).tolist() == [4, 2, 4]
    assert names.positions(pa.chunked_array([["nothing"]])) is None
