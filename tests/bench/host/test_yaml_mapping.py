"""YAML that people get wrong: one sentence with file and key, and nothing else."""

import string
from functools import partial

import pytest
import yaml
from fuzzing import examples, search
from hypothesis import strategies as st

from cambench.baselines.wsol import make_method
from cambench.bench.engine.planning.config import RunConfig, read_config
from cambench.bench.host.errors import UsageError
from cambench.bench.host.yaml_mapping import yaml_mapping
from cambench.bench.training.recipes.recipe import BackboneRecipe, HeadRecipe
from cambench.bench.training.recipes.recipe_files import load_recipe


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dataset: cub\nlimit: 2020-13-45\n", "doc, line 2: limit: month must be in 1..12"),
        ("a: 1\nb: " + "[" * 3000 + "]" * 3000, "nested too deeply"),
        ("a: 1\n7: x\n", "doc, line 2: the key 7 is not the name of a field"),
        ("[1, 2]: x\n", "doc, line 1: the key a list is not the name of a field"),
        ("yes: x\n", "the key yes is not the name of a field"),
        ("a: 1\na: 2\n", "doc, line 2: a is given twice"),
        ("a:\n  b: {lr: 1, c: 2, lr: 3}\n", "doc, line 2: lr is given twice"),
        ("a:\n- {b: 1}\n- c: 1\n  c: 1\n", "doc, line 4: c is given twice"),
        ("a: " + "9" * 5000, "doc, line 1: a: "),
        ("a: {[1]: 2}\n", "doc, line 1: a: not YAML"),
        ("- a\n- b\n", "expected a mapping of fields, found a list"),
        ("", "found nothing"),
        ("word", "found one value"),
        ("a: !!python/object:os.system x\n", "a: not YAML"),
        ("a: *unknown\n", "not YAML"),
        ("a: \0\n", "not YAML"),
    ],
)
def test_one_sentence_says_where(text, said):
    with pytest.raises(UsageError) as caught:
        yaml_mapping(text, "doc")
    assert said in str(caught.value)


def test_what_is_right_is_read_as_yaml_reads_it():
    text = "base: &b {x: 1}\na: [1, two, 3.5, null, true]\nb: {<<: *b, y: 2020-01-31}\nc: *b\n"
    assert yaml_mapping(text, "doc") == yaml.safe_load(text)
    # A key of the mapping itself goes before one that is merged.
    text = "<<: {lr: 1, seed: 2}\nlr: 3\n"
    assert yaml_mapping(text, "doc") == yaml.safe_load(text) == {"lr": 3, "seed": 2}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ("triplse: a/b/c", "triplse: no such field; did you mean 'triples'?"),
        ("batch_size: 0", "batch_size: Input should be greater"),
        ('out: "a\\0b"', "null character"),
        ("split: tset", "split 'tset': expected 'train', 'val' or 'test'"),
        ("options: {1: 2}", "options.1"),
    ],
)
def test_a_wrong_field_names_the_file_and_itself(tmp_path, fields, said):
    file = tmp_path / "run.yaml"
    file.write_text(f"dataset: cub\n{fields}\n" + ("" if fields.startswith("out") else "out: x\n"))
    with pytest.raises(UsageError) as caught:
        read_config(file, {})
    assert said in str(caught.value)
    assert str(file) in str(caught.value)


def test_an_output_that_records_cannot_name_is_refused():
    with pytest.raises(UsageError, match="not UTF-8"):
        RunConfig.create(dataset="synthbirds", out="bad\udcff")


@examples(100, 3000)
def test_any_text_is_a_mapping_or_a_sentence(examples):
    search(examples, read_text, text=st.text(max_size=80))


def read_text(text):
    try:
        found = yaml_mapping(text, "file")
    except UsageError as error:
        found, said = None, str(error)
    assert said.startswith("file") if found is None else all(isinstance(key, str) for key in found)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.dates()
VALUES = st.recursive(
    LEAVES, lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(max_size=6) | st.integers(), v, max_size=3),
    max_leaves=8,
)  # fmt: skip
FIELDS = st.sampled_from([*RunConfig.model_fields, "extends", "epochs", "optimiser", "colour"])
DOCUMENTS = st.dictionaries(FIELDS, VALUES, max_size=6).map(lambda d: yaml.safe_dump(d, allow_unicode=True)) | st.text(
    alphabet=string.ascii_letters + "{}[]:,-&*!|>'\"#%\n \t0123456789", max_size=60
)


def outcome(folder, text):
    """Read a document as a configuration and as a recipe; anything but the product's own error is a failure."""
    file = folder / "fuzz.yaml"
    file.write_text(text, encoding="utf-8")
    for read in (lambda: read_config(file, {}), lambda: load_recipe(HeadRecipe, str(file))):
        found, said = None, ""
        try:
            found = read()
        except UsageError as error:
            said = str(error)
        assert found is not None or "fuzz.yaml" in said or "recipe" in said


@examples(60, 3000)
def test_any_document_is_read_or_refused_in_words(tmp_path, examples):
    search(examples, partial(outcome, tmp_path), text=DOCUMENTS)


@pytest.mark.parametrize("field", ["limit", "batch_size", "seed", "workers", "processes", "cache_images", "chunk_mib"])
@pytest.mark.parametrize("word", ["yes", "off"])
def test_a_switch_is_no_number(tmp_path, field, word):
    """YAML makes truth values of these words, and Python numbers of truth values: ``limit: yes`` was one image."""
    file = tmp_path / "run.yaml"
    file.write_text(f"dataset: synthbirds\n{field}: {word}\n")
    with pytest.raises(UsageError, match=rf"run\.yaml: {field}: {'yes' if word == 'yes' else 'no'} is no number"):
        read_config(file, {"out": tmp_path / "out"})
    file.write_text(f"dataset: synthbirds\nkeep_maps: {word}\npretrained: {word}\n{field}: 3\n")
    found = read_config(file, {"out": tmp_path / "out"})
    assert found.keep_maps is found.pretrained is (word == "yes")
    assert getattr(found, field) == 3


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("extends: synthbirds\nname: a\nsource: b\nepochs: yes\n", "epochs"),
        ("extends: synthbirds\nname: a\nsource: b\noptimiser: {lr: on}\n", r"optimiser\.lr"),
        ("extends: synthbirds\nname: a\nsource: b\nschedule: {warmup_epochs: on}\n", r"schedule\.warmup_epochs"),
        ("extends: synthbirds\nname: a\nsource: b\npooling: {kind: tap, threshold: no}\n", r"pooling\.threshold"),
    ],
)
def test_a_switch_is_no_number_of_a_recipe(tmp_path, text, where):
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(UsageError, match=rf"{where}: (yes|no) is no number"):
        load_recipe(BackboneRecipe, str(tmp_path / "mine.yaml"))


def test_a_switch_is_no_number_of_a_method():
    with pytest.raises(ValueError, match="drop_rate: yes is no number"):
        make_method({"name": "has", "drop_rate": True})
