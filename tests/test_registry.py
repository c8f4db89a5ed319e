"""Registry: registration, collisions, globs, nearest names, entry points, plugins."""

import subprocess
import sys
from ast import literal_eval
from importlib.metadata import EntryPoint

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cambench import registry as registry_module
from cambench.plugins import load_plugin
from cambench.registry import Registry, RegistryError, UnknownNameError, expand_braces, modules_of


@pytest.fixture
def fruits():
    registry: Registry[str] = Registry("fruit", "cambench.test_fruits")
    for name in ("apple", "apricot", "banana"):
        registry.add(name, name.upper(), origin="orchard")
    return registry


def test_look_up_and_globs(fruits):
    assert fruits.get("apple") == "APPLE"
    assert fruits.names("ap*") == ["apple", "apricot"]
    assert fruits.names("{banana,apple}") == ["apple", "banana"]
    assert "banana" in fruits
    assert len(fruits) == 3


def test_a_miss_names_the_nearest(fruits):
    with pytest.raises(UnknownNameError, match="unknown fruit 'aple'; did you mean 'apple'"):
        fruits.get("aple")
    with pytest.raises(UnknownNameError, match="known: apple, apricot, banana"):
        fruits.get("zzz")


def test_each_brace_alternative_must_match(fruits):
    with pytest.raises(UnknownNameError, match="bananna"):
        fruits.match("{apple,bananna}")


def test_collision_is_refused_but_reload_is_not(fruits):
    fruits.add("apple", "again", origin="orchard")
    with pytest.raises(RegistryError, match="already registered by orchard"):
        fruits.add("apple", "other", origin="elsewhere")


@pytest.mark.parametrize("name", ["", "a b", "a/b", "../x", "*", "a{b"])
def test_names_that_would_break_triples_or_paths(fruits, name):
    with pytest.raises(RegistryError, match="letters, digits"):
        fruits.add(name, "x")


def test_entry_points(monkeypatch):
    point = EntryPoint("pi", "math:pi", "cambench.test_numbers")
    monkeypatch.setattr(registry_module, "entry_points", lambda group: [point] if group == point.group else [])
    numbers: Registry[float] = Registry("number", "cambench.test_numbers")
    assert numbers.get("pi") == pytest.approx(3.14159, abs=1e-4)
    assert numbers.origin("pi") == "math:pi"


def test_a_broken_entry_point_is_named(monkeypatch):
    point = EntryPoint("bad", "no_such_module_here:x", "g")
    monkeypatch.setattr(registry_module, "entry_points", lambda group: [point])
    with pytest.raises(RegistryError, match=r"entry point 'bad' of g \(no_such_module_here:x\) cannot be loaded"):
        Registry("thing", "g").get("bad")


def test_braces():
    assert expand_braces("a/{b,c}/d") == ["a/b/d", "a/c/d"]
    assert expand_braces("{a,{b,c}d}") == ["a", "bd", "cd"]
    assert expand_braces("plain") == ["plain"]


@pytest.mark.parametrize("bad", ["{a", "a}", "{a,{b}"])
def test_unbalanced_braces(bad):
    with pytest.raises(ValueError, match="without|not closed"):
        expand_braces(bad)


@given(st.lists(st.lists(st.sampled_from("abc"), min_size=1, max_size=3), min_size=1, max_size=3))
def test_brace_expansion_is_the_product(groups):
    pattern = "/".join("{" + ",".join(g) + "}" for g in groups)
    expected = [""]
    for group in groups:
        expected = [f"{e}/{g}" if e else g for e in expected for g in group]
    assert expand_braces(pattern) == expected


def test_plugin_errors_are_readable(tmp_path):
    with pytest.raises(RegistryError, match="no such file"):
        load_plugin(tmp_path / "absent.py")
    broken = tmp_path / "broken.py"
    broken.write_text("1 / 0")
    with pytest.raises(RegistryError, match=r"broken\.py, line 1: ZeroDivisionError"):
        load_plugin(broken)


def test_a_plugin_that_registers_nothing_is_said_with_its_file(tmp_path):
    file = tmp_path / "forgot.py"
    file.write_text("def my_cam(e):\n    return e.gradients\n")
    with pytest.raises(RegistryError, match=r"forgot\.py: registers nothing\. Put @register_cam"):
        load_plugin(file)


def test_an_error_of_a_plugin_has_its_line(tmp_path):
    file = tmp_path / "broken.py"
    file.write_text("import math\n\nmath.nothing\n")
    with pytest.raises(RegistryError, match=r"broken\.py, line 3: AttributeError"):
        load_plugin(file)


def test_a_decorator_without_brackets_takes_the_functions_name(tmp_path):
    from cambench.baselines.cams.method import CAMS

    file = tmp_path / "bare.py"
    file.write_text("from cambench import register_cam\n\n@register_cam\ndef bare_cam(e):\n    return e.gradients\n")
    try:
        load_plugin(file)
        assert CAMS.get("bare_cam").title == "bare_cam"
        load_plugin(file)  # the same file again is no collision
        twin = tmp_path / "other" / "bare.py"
        twin.parent.mkdir()
        twin.write_text(file.read_text())
        with pytest.raises(RegistryError, match=rf"'bare_cam' of {twin} is already registered by {file};"):
            load_plugin(twin)
    finally:
        CAMS._entries.pop("bare_cam")
        CAMS._origin.pop("bare_cam")


def test_a_builtin_name_is_owned_by_its_module_even_before_the_first_look_up(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("from cambench import register_cam\n@register_cam('gradcam')\ndef f(e):\n    return e.gradients\n")
    code = "import sys\nfrom cambench.plugins import load_plugin\nload_plugin(sys.argv[1])"
    said = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, check=False).stderr
    owner = "cambench.baselines.cams.gradient.grad_cam"
    assert f"CAM method 'gradcam' of {file} is already registered by {owner}; choose another name" in said


def test_methods_are_found_in_their_folders_and_stand_by_family_and_year():
    # A module that is imported first does not come first in tables.
    code = (
        "import importlib, re\n"
        "importlib.import_module('cambench.baselines.cams.gradient.zoom_cam')\n"
        "from cambench.baselines.cams import CAMS\n"
        "years = {n: re.findall('(?:19|20)[0-9]{2}', CAMS.get(n).source) for n in CAMS}\n"
        "for name in CAMS: print(name, CAMS.origin(name).split('.')[-2], years[name])"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    rows = [line.split(maxsplit=2) for line in said.splitlines()]
    families = list(dict.fromkeys(family for _, family, _ in rows))
    assert families == ["gradient", "rescoring", "attribution", "attention", "trained", "controls"]
    assert [name for name, family, _ in rows if family == "gradient"][:3] == ["cam", "gradcam", "gradcam++"]
    for family in families[:-1]:
        years = [literal_eval(found)[0] for _, its, found in rows if its == family]
        assert years == sorted(years)
    assert [name for name, family, _ in rows if family == "controls"] == ["center", "random", "uniform"]


def test_a_star_stands_for_the_modules_of_a_folder():
    assert modules_of(["cambench.baselines.cams.controls.*", "cambench.baselines.heads.heads"]) == [
        *(f"cambench.baselines.cams.controls.{name}" for name in ("center", "random_map", "uniform")),
        "cambench.baselines.heads.heads",
    ]
