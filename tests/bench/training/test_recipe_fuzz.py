"""A mistyped recipe is read or refused in words: whatever stands in the file, no other error comes out."""

import contextlib
from importlib.resources import files

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cambench.bench.host.errors import UsageError
from cambench.bench.training.recipes.recipe import BackboneRecipe, HeadRecipe
from cambench.bench.training.recipes.recipe_files import load_recipe

TEXTS = {
    model: [
        f.read_text(encoding="utf-8")
        for f in files("cambench.bench.training").joinpath("recipes").iterdir()
        if f.name.startswith(model.kind)
    ]
    for model in (HeadRecipe, BackboneRecipe)
}
TOKENS = st.one_of(
    st.sampled_from(
        [
            "- ",
            ": ",
            "[",
            "{",
            "}",
            "&a ",
            "*a",
            "!!python/object:os.system ",
            "? ",
            "2020-13-45",
            "1e999",
            "-1",
            ".nan",
            ".inf",
            "null",
            "~",
            "extends: paper\n",
            "extends: [paper]\n",
            "epochs: 0\n",
            "epochs: 1.5\n",
            "method: adll\n",
            "method: {name: 3}\n",
            "\t",
            "\x00",
            "'",
            '"',
            "|\n",
            "[" * 400,
        ]
    ),
    st.text(max_size=6),
)
EDITS = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 0.2), TOKENS), min_size=1, max_size=4)


def check(folder, model, text, edits):
    for at, length, token in edits:
        start = int(at * len(text))
        text = text[:start] + token + text[start + int(length * 20) :]
    file = folder / "recipe.yaml"
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    with contextlib.suppress(UsageError):
        load_recipe(model, str(file))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("recipes")


CASES = st.sampled_from([(model, text) for model, texts in TEXTS.items() for text in texts])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=CASES, edits=EDITS)
def test_any_edit_of_a_recipe_is_read_or_refused(folder, case, edits):
    check(folder, *case, edits)


@pytest.mark.slow
@settings(max_examples=4000, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=CASES, edits=EDITS)
def test_many_edits_of_a_recipe_are_read_or_refused(folder, case, edits):
    check(folder, *case, edits)
