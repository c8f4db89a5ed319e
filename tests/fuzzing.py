"""What all searches for bad input share: their two lengths, the errors in which they may end, edits of a text."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cambench.baselines.weights.weight_files import WeightsError
from cambench.bench.host.errors import RunError, UsageError
from cambench.datasets.schema import DatasetError
from cambench.registry import RegistryError, UnknownNameError
from cambench.results.records.record_errors import ResultsError

SAID = (UsageError, RunError, UnknownNameError, RegistryError, DatasetError, WeightsError, ResultsError)
"""The product's own errors, which say in a sentence what is wrong; anything else is a defect."""


def examples(short: int, long: int) -> Callable[[Any], Any]:
    """A test that searches ``examples`` cases: the same few in the suite, others every time in ``tox -e fuzz``."""

    def decorate(test: Any) -> Any:
        lengths = [pytest.param(short, id="short"), pytest.param(long, id="long", marks=pytest.mark.slow)]
        return pytest.mark.fuzz(pytest.mark.parametrize("examples", lengths)(test))

    return decorate


def search(examples: int, body: Callable[..., None], **drawn: st.SearchStrategy[Any]) -> None:
    """Call ``body`` with many values of the strategies ``drawn``; a failure is shrunk and shown."""
    long = examples > 200
    setting = settings(
        max_examples=examples, deadline=None, derandomize=not long, suppress_health_check=list(HealthCheck)
    )

    def test(**values: Any) -> None:
        body(**values)

    setting(given(**drawn)(test))()


def ended(act: Callable[[], Any]) -> Any:
    """What ``act`` returns, or None where it is refused in words."""
    try:
        return act()
    except SAID as error:
        said = str(error)
    assert len(said.strip()) > 10, f"an error that says nothing: {said!r}"
    assert "Traceback" not in said
    return None


TOKENS = st.one_of(
    st.sampled_from(
        [
            *("- ", ": ", "[", "{", "}", "]", ",", ";", "\t", " ", "\n", "\r", "\x00", "'", '"', "|\n", "#", "%", "\\"),
            *("&a ", "*a", "? ", "!!python/object:os.system ", "2020-13-45", "[" * 400, "../", "/", "<", ">", "&amp;"),
            *("-1", "0", "1e999", "1e300", "9" * 30, ".nan", ".inf", "nan", "inf", "-inf", "null", "~", "0x1F", "１"),
            *("extends: paper\n", "epochs: 0\n", "epochs: 1.5\n", "method: adll\n", "method: {name: 3}\n", "=", "=="),
            *("é", "e\u0301", "\ud800", "\u202e", "猫", "\ufeff"),
        ]
    ),
    st.text(max_size=6),
)
EDITS = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1), TOKENS), min_size=1, max_size=4)
"""Where (a share of the text), how much goes (a share of twenty characters), and what comes in its place."""


def edited(text: str, edits: list[tuple[float, float, str]]) -> bytes:
    """A text after some edits, as bytes that need not be UTF-8."""
    for at, length, token in edits:
        start = int(at * len(text))
        text = text[:start] + token + text[start + int(length * 20) :]
    return text.encode("utf-8", "surrogatepass")


def drawn_from(files: Mapping[str, str]) -> st.SearchStrategy[str]:
    """The name of one of some files."""
    return st.sampled_from(sorted(files))
