"""YAML that anybody may have written: the mapping, or one sentence that names the file."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cambench.bench.host.errors import UsageError
from cambench.bench.host.yaml_mapping import yaml_mapping


def test_a_mapping_is_read():
    assert yaml_mapping("a: 1\nb: [x, y]", "file") == {"a": 1, "b": ["x", "y"]}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("when: 2020-13-45", "month must be in 1..12"),
        ("a: " + "[" * 5000, "nested too deeply"),
        ("1: x", "the key 1 is not the name of a field"),
        ("- a", "expected a mapping of fields, found list"),
        ("a: [", "not YAML"),
        ("", "expected a mapping of fields, found NoneType"),
    ],
)
def test_everything_else_is_one_sentence(text, says):
    with pytest.raises(UsageError, match=r"^configuration run\.yaml: ") as error:
        yaml_mapping(text, "configuration run.yaml")
    assert says in str(error.value)


@given(st.text(max_size=80))
def test_any_text_is_a_mapping_or_a_sentence(text):
    try:
        found = yaml_mapping(text, "file")
    except UsageError as error:
        found, said = None, str(error)
    assert said.startswith("file: ") if found is None else all(isinstance(key, str) for key in found)
