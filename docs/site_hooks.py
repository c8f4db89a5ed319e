"""What MkDocs asks of this site: tables made from the registries, the command line's page, formulae as MathML."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import typer.main
from latex2mathml.converter import convert

from cambench import protocol as protocol_module
from cambench.bench.cli.app import app
from cambench.bench.cli.options import field_rows
from cambench.bench.engine.planning.config import RunConfig
from cambench.datasets.schema import DATASETS
from cambench.metrics import METRICS
from cambench.protocol import PROTOCOLS, MapRule, Protocol

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("baselines", "bench", "metrics", "results")
COMMAND_LINE = "reference/cli.md"
_STAGE = tempfile.TemporaryDirectory(prefix="cambench-docs-")
_MATH = re.compile(r"^```math\n(.*?)^```$", re.M | re.S)
_MARK = re.compile(r"^<!-- generated: (\w+) -->$", re.M)


def on_startup(**_: Any) -> None:
    """Let mkdocstrings find the package: the root, its ``datasets`` no namespace, which it would not enter."""
    package = Path(_STAGE.name) / "cambench"
    (package / "datasets").mkdir(parents=True)
    (package / "datasets" / "__init__.py").touch()
    for source in (*_children(ROOT), *_children(ROOT / "datasets")):
        (package / source.relative_to(ROOT)).symlink_to(source)
    sys.path.insert(0, _STAGE.name)


def _children(folder: Path) -> list[Path]:
    return [p for p in folder.iterdir() if p.suffix == ".py" or p.name in ROOMS or (folder != ROOT and p.is_dir())]


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """The page with its tables and formulae."""
    if page.file.src_uri == COMMAND_LINE:
        markdown += command_line()
    markdown = _MARK.sub(lambda found: TABLES[found[1]](), markdown)
    return _MATH.sub(lambda found: convert(found[1].strip(), display="block"), markdown)


def command_line() -> str:
    """Every verb with its help, arguments and options."""
    return "\n".join(_verbs(typer.main.get_command(app), "cambench"))


def _verbs(command: Any, name: str) -> Iterator[str]:
    for verb, sub in sorted(getattr(command, "commands", {}).items()):
        full = f"{name} {verb}"
        if getattr(sub, "commands", None):
            yield from _verbs(sub, full)
        else:
            yield f"\n## {full}\n\n{_help(sub.help or '')}\n"
            yield from _options(sub)


def _help(text: str) -> str:
    """A docstring whose indented blocks are commands."""
    lines = inspect.cleandoc(text).splitlines()
    return "\n".join(f"    {line.strip()}" if line.startswith("    ") else _cell(line) for line in lines)


def _options(command: Any) -> Iterator[str]:
    rows = []
    for param in command.params:
        if getattr(param, "hidden", False) or param.name == "help":
            continue
        names = [*param.opts, *param.secondary_opts] if param.param_type_name == "option" else [param.name.upper()]
        default = param.default
        if getattr(param, "required", False):
            shown = "required"
        elif default is None or default == () or isinstance(default, bool) or callable(default):
            shown = "on" if default is True else ""
        else:
            shown = f"`{default}`"
        rows.append((", ".join(f"`{n}`" for n in names), shown, _cell(getattr(param, "help", "") or "")))
    yield _table(("option", "default", ""), rows)


def protocols_table() -> str:
    """Fields of every named protocol; a row a field, what it means last."""
    rules, fields = _docs(MapRule), _docs(Protocol)
    names = PROTOCOLS.names()
    dumps = {name: PROTOCOLS.get(name).model_dump(exclude={"name", "version"}) for name in names}
    rows = []
    for field in dumps[names[0]]:
        if field == "map_rule":
            for part in MapRule.model_fields:
                cells = [_value(dumps[n]["map_rule"][part]) for n in names]
                rows.append((f"`map_rule.{part}`", *cells, _cell(rules.get(part, ""))))
        else:
            rows.append((f"`{field}`", *(_value(dumps[n][field]) for n in names), _cell(fields.get(field, ""))))
    rows.append(("digest", *(f"`{PROTOCOLS.get(n).digest}`" for n in names), "in every record"))
    return _table(("field", *(f"`{n}`" for n in names), "meaning"), rows)


def metrics_table() -> str:
    """Every registered metric."""
    rows = []
    for name in METRICS.names():
        spec = METRICS.get(name)
        better = "higher ↑" if spec.higher_is_better else "lower ↓"
        rows.append((f"`{name}`", spec.title, better, ", ".join(spec.needs), _cell(spec.source)))
    return _table(("name", "title", "better", "needs", "source"), rows)


def datasets_table() -> str:
    """Every registered data set."""
    rows = []
    for name in DATASETS.names():
        spec = DATASETS.get(name)
        counts = ", ".join(f"{split} {n:,}" for split, n in spec.counts.items()) or "yours"
        options = "; ".join(f"`{k}`: {_cell(v)}" for k, v in spec.options.items())
        rows.append((f"`{name}`", _cell(spec.title), counts, ", ".join(spec.metrics), options))
    return _table(("name", "what", "images", "truth", "`--option`"), rows)


def fields_table() -> str:
    """Every field of a run's configuration: in YAML, as a keyword of ``cambench.run``, on the command line."""
    rows = [
        (f"`{name}`", f"`{flag}`" if flag else "", f"`{default}`" if default else "", _cell(text))
        for name, flag, default, text in field_rows(RunConfig)
    ]
    return _table(("field", "option", "default", ""), rows)


TABLES: dict[str, Callable[[], str]] = {
    "protocols": protocols_table,
    "metrics": metrics_table,
    "datasets": datasets_table,
    "fields": fields_table,
}


def _docs(model: type) -> dict[str, str]:
    """Field -> the string below it in the source."""
    tree = ast.parse(inspect.getsource(protocol_module))
    body = next(n.body for n in tree.body if isinstance(n, ast.ClassDef) and n.name == model.__name__)
    found: dict[str, str] = {}
    for field, after in pairwise(body):
        if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            found[ast.unparse(field.target)] = str(after.value.value)
    return found


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "; ".join(f"`{k}`: {' '.join(str(v) for v in rule.values())}" for k, rule in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(f"`{v}`" for v in value) or "none"
    return f"`{value}`"


def _cell(text: str) -> str:
    plain = " ".join(text.replace("``", "`").split())
    return plain.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("[", "\\[")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines: list[Sequence[str]] = [head, ["---"] * len(head), *rows]
    return "\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
