"""Doors through which foreign bytes come in: no call of the product may run what is in them (read from the source)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(
    p for room in ("baselines", "datasets", "metrics", "results", "bench") for p in (ROOT / room).rglob("*.py")
) + sorted(ROOT.glob("*.py"))


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """(file, dotted name, call) of every call in the product."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield str(path.relative_to(ROOT)), ast.unparse(node.func), node


CALLS = list(calls())


def places(*names: str, given: str = "") -> list[str]:
    """Where functions are called without the keyword ``given`` (``name=value``)."""
    return sorted(
        f"{file}:{call.lineno}"
        for file, name, call in CALLS
        if name in names and given not in [f"{k.arg}={ast.unparse(k.value)}" for k in call.keywords]
    )


def test_there_is_something_to_look_at() -> None:
    assert len(CALLS) > 5_000
    assert any(name == "torch.load" for _, name, _ in CALLS)


@pytest.mark.parametrize(
    ("names", "given"),
    [
        (("torch.load",), "weights_only=True"),
        (("np.load", "numpy.load"), "allow_pickle=False"),
        (("yaml.load", "yaml.unsafe_load", "yaml.full_load", "yaml.load_all"), ""),
        (("eval", "exec", "os.system", "os.popen", "marshal.loads", "joblib.load", "dill.load"), ""),
        (("tarfile.extractall", "tar.extractall", "pack.extractall", "shutil.unpack_archive"), ""),
        (("subprocess.run", "subprocess.Popen", "subprocess.check_output"), "shell=False"),
    ],
)
def test_nothing_that_is_read_is_run(names: tuple[str, ...], given: str) -> None:
    """Subprocesses take lists, never a line for a shell; what is pickled comes from the product's own helper."""
    found = places(*names, given=given)
    if names[0].startswith("subprocess"):
        shells = [f"{f}:{c.lineno}" for f, n, c in CALLS if n in names and "shell" in [k.arg for k in c.keywords]]
        assert shells == []
    else:
        assert found == []


def test_pickles_come_from_the_products_own_helper() -> None:
    found = {file for file, name, _ in CALLS if name in ("pickle.load", "pickle.loads", "pickle.Unpickler")}
    assert found == {"datasets/adapters/synthbirds/worker.py"}


def test_pictures_come_through_one_door() -> None:
    """``notebook/explanation`` opens the PNG that it has just drawn."""
    found = {file for file, name, _ in CALLS if name in ("Image.open", "PIL.Image.open", "cv2.imread", "mpimg.imread")}
    assert found == {"opener.py", "bench/notebook/explanation.py"}


def test_html_is_escaped() -> None:
    given = [
        (file, {k.arg: ast.unparse(k.value) for k in call.keywords}.get("autoescape"))
        for file, name, call in CALLS
        if name in ("Environment", "jinja2.Environment")
    ]
    assert ("results/report/page.py", "True") in given
    # The LaTeX environment escapes by its own filters.
    assert {file for file, escape in given if escape != "True"} <= {"results/tables/grid.py"}
