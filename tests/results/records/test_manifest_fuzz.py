"""A damaged ``run.json`` is understood or refused in words: whatever is changed in it, no other error comes out."""

import copy
import json
from functools import partial

import pytest
from fuzzing import ended, examples, search
from hypothesis import strategies as st

from cambench.results.records.load import load_run
from cambench.results.scores.shown import score_run
from cambench.results.statistics.bootstrap import bootstrap_run

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from([0, -1, 1, 48, 1e308, 0.5]),
    st.text(max_size=8),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def places(node, path=()):
    """Paths of everything in a JSON document."""
    yield path
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


def changed(document, path, change, value):
    """A copy with what stands at ``path`` replaced, removed, doubled, cut short or added to."""
    document = copy.deepcopy(document)
    *parents, last = path
    node = document
    for key in parents:
        node = node[key]
    old = node[last]
    if change == "remove":
        del node[last]
    elif change == "cut" and isinstance(old, str | list):
        node[last] = old[: len(old) // 2]
    elif change == "double" and isinstance(old, str | list | int | float) and not isinstance(old, bool):
        node[last] = old * 2
    elif change == "add" and isinstance(old, dict):
        old["unheard of"] = value
    else:
        node[last] = value
    return document


@pytest.fixture(scope="module")
def folder(toy, tmp_path_factory):
    return toy.fill(tmp_path_factory.mktemp("fuzz") / "run", toy.manifest())


def check(folder, data):
    file = folder / "run.json"
    original = file.with_name("original")
    if not original.exists():
        original.write_bytes(file.read_bytes())
    document = json.loads(original.read_text(encoding="utf-8"))
    path = data.draw(st.sampled_from([p for p in places(document) if p]), "place")
    change = data.draw(st.sampled_from(["replace", "remove", "cut", "double", "add"]), "change")
    file.write_text(json.dumps(changed(document, path, change, data.draw(VALUES, "value"))), encoding="utf-8")
    ended(lambda: told(load_run(folder)))


def told(run):
    """Everything that a leaderboard computes of a run."""
    score_run(run)
    return bootstrap_run(run, resamples=5) if run.triples and len(run.index) > 1 else None


@examples(60, 3000)
def test_any_change_of_a_manifest_is_understood_or_refused(folder, examples):
    search(examples, partial(check, folder), data=st.data())
