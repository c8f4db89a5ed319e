"""A mistyped recipe is read or refused in words: whatever stands in the file, no other error comes out."""

from importlib.resources import files

import pytest
from fuzzing import EDITS, edited, ended, examples, search
from hypothesis import strategies as st

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


def check(folder, model, text, edits):
    file = folder / "recipe.yaml"
    file.write_bytes(edited(text, edits))
    ended(lambda: load_recipe(model, str(file)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("recipes")


CASES = st.sampled_from([(model, text) for model, texts in TEXTS.items() for text in texts])


@examples(60, 4000)
def test_any_edit_of_a_recipe_is_read_or_refused(folder, examples):
    search(examples, lambda case, edits: check(folder, *case, edits), case=CASES, edits=EDITS)
