"""The house's rules over the import graph: rooms, floors, faces, no circles, one name for one thing."""

from __future__ import annotations

import ast
import tomllib
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("baselines", "datasets", "metrics", "results", "bench")

FLOORS: dict[str, list[set[str]]] = {
    "bench": [
        {"cli"},
        {"paper", "search"},
        {"notebook", "figures", "timing", "stored"},
        {"executors"},
        {"engine"},
        {"training"},
        {"maps"},
        {"host"},
    ],
    "results": [{"report", "figures", "paper"}, {"tables"}, {"statistics"}, {"scores"}, {"records"}],
    "metrics": [{"catalogue"}, {"builtin"}, {"classes"}, {"functional"}, {"kernels"}],
    "baselines": [{"cams", "backbones"}, {"wsol"}, {"probes"}, {"heads"}, {"contracts", "weights"}],
    "datasets": [
        {"adapters"},
        {"doctor"},
        {"formats", "open"},
        {"tables", "batches"},
        {"disk"},
        {"fetch", "findings"},
        {"schema"},
    ],
}
"""Floors of each room, the highest first: folders and lone files; an arrow runs only downwards."""

OPEN = (
    "cambench.baselines.contracts",
    "cambench.datasets.open",
    "cambench.datasets.schema",
    "cambench.metrics.functional",
    "cambench.results.records",
    "cambench.results.tables",
)
"""Modules that another room may import as they are; everything else is entered by a folder's face."""

MAY_ENTER = {"bench": set(ROOMS), "results": {"results", "metrics"}}
"""Rooms that a room may import from, where it is more than itself."""

FRONT_DOOR = {"cambench", "cambench.api", "cambench.__main__"}
"""Files of the hall that hand names of the rooms on, each from its own file, so that a name imports no more than it
needs; the other files of the hall know no room."""


def _modules() -> dict[str, Path]:
    files = [p for room in ROOMS for p in (ROOT / room).rglob("*.py")] + sorted(ROOT.glob("*.py"))
    return {
        ".".join(("cambench", *p.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): p for p in files
    }


MODULES = _modules()


def _exports(path: Path) -> set[str]:
    """Names in ``__all__`` that a face imports from its files: they hide a file of the same name."""
    return {
        alias.asname or alias.name
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


def _arrows() -> dict[str, set[tuple[str, str]]]:
    """Module -> (module it imports from, name); a sub-module that is imported as a name counts as the module."""
    found: dict[str, set[tuple[str, str]]] = {}
    for module, path in MODULES.items():
        package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
        arrows = found.setdefault(module, set())
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])
                for alias in node.names:
                    whole = f"{base}.{alias.name}"
                    hidden = base in MODULES and base != module and alias.name in _exports(MODULES[base])
                    arrows.add((whole, "") if whole in MODULES and not hidden else (base, alias.name))
    return found


ARROWS = _arrows()


def _room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else ""


def _folder(module: str) -> str:
    """The folder (or lone file) of a room in which a module stands; empty for the room's own face."""
    parts = module.split(".")
    if parts[1:4] == ["metrics", "functional", "kernels"]:
        return "kernels"
    return parts[2] if len(parts) > 2 else ""


def _floor(module: str) -> int | None:
    floors = FLOORS[_room(module)]
    return next((k for k, names in enumerate(floors) if _folder(module) in names), None)


def test_rooms_know_only_the_rooms_they_may():
    wrong = [
        f"{module} imports {target}"
        for module, arrows in ARROWS.items()
        for target, _ in arrows
        if _room(target)
        and module not in FRONT_DOOR
        and _room(target) not in MAY_ENTER.get(_room(module), {_room(module)})
    ]
    assert not wrong


def test_another_room_is_entered_by_a_face_or_an_open_module():
    wrong = []
    for module, arrows in ARROWS.items():
        for target, name in arrows:
            if not _room(target) or _room(target) == _room(module) or module in FRONT_DOOR:
                continue
            face = MODULES[target].name == "__init__.py" and target.count(".") <= 2
            if not face and not target.startswith(OPEN):
                wrong.append(f"{module} imports {name} from {target}")
    assert not wrong


def test_arrows_inside_a_room_run_downwards():
    wrong = []
    for module, arrows in ARROWS.items():
        for target, _ in arrows:
            if not _room(module) or _room(module) != _room(target) or _folder(module) == _folder(target):
                continue
            here, there = _floor(module), _floor(target)
            if here is not None and there is not None and there <= here:
                wrong.append(f"{module} imports {target}")
    assert not wrong


def test_no_circle_of_files():
    graph = {module: {t for t, _ in arrows if t != module and t in MODULES} for module, arrows in ARROWS.items()}
    # A package's face imports its files; that they stand in the package is no arrow back.
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"files import each other in a circle: {' -> '.join(error.args[1])}")


def test_every_folder_has_a_floor():
    folders = {(_room(m), _folder(m)) for m, p in MODULES.items() if _room(m) and p.parent.parent != ROOT}
    known = {(room, name) for room, floors in FLOORS.items() for names in floors for name in names}
    assert {f for f in folders if f[1]} <= known | {("metrics", "spec")}


def test_private_names_stay_in_their_file():
    wrong = [
        f"{m} imports {n} from {t}"
        for m, arrows in ARROWS.items()
        for t, n in arrows
        if n.startswith("_") and n[1] != "_"
    ]
    assert not wrong


def test_the_version_has_one_place():
    wrong = [
        f"{m} takes it from {t}"
        for m, arrows in ARROWS.items()
        for t, n in arrows
        if n == "__version__" and t != "cambench.version"
    ]
    assert not wrong


def test_one_name_one_meaning():
    files, classes = defaultdict(list), defaultdict(list)
    for module, path in MODULES.items():
        # The command line has a file for each verb, named as the verb is.
        if path.name != "__init__.py" and not module.startswith("cambench.bench.cli."):
            files[path.name].append(module)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                classes[node.name].append(module)
    assert not {name: where for name, where in (files | classes).items() if len(where) > 1}


def test_the_package_list_is_the_tree():
    with (ROOT / "pyproject.toml").open("rb") as file:
        listed = tomllib.load(file)["tool"]["setuptools"]["packages"]
    folders = {p.parent for room in ROOMS for p in (ROOT / room).rglob("*.py")} | {ROOT / room for room in ROOMS}
    tree = {".".join(("cambench", *f.relative_to(ROOT).parts)) for f in folders} | {"cambench"}
    assert len(listed) == len(set(listed))
    assert set(listed) == tree


def test_no_function_has_more_than_eight_parameters():
    many = {}
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                found = node.args
                names = [
                    a.arg for a in (*found.posonlyargs, *found.args, *found.kwonlyargs, found.vararg, found.kwarg) if a
                ]
                if (count := len([n for n in names if n not in ("self", "cls")])) > 8:
                    many[f"{module.removeprefix('cambench.')}.{node.name}"] = count
    assert not many
