"""The documentation site: its generated parts say what the code says, and every page is in its navigation."""

import importlib.util
import re
from pathlib import Path

import pytest
import typer.main
import yaml

from cambench.bench.cli.app import app
from cambench.datasets.schema import DATASETS
from cambench.metrics import METRICS
from cambench.protocol import PROTOCOLS, MapRule, Protocol

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("site_hooks", DOCS / "site_hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def verbs(command, name):
    for verb, sub in command.commands.items():
        if getattr(sub, "commands", None):
            yield from verbs(sub, f"{name} {verb}")
        else:
            yield f"{name} {verb}", sub


def test_command_line_page_has_every_verb_and_option(hooks):
    sections = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", hooks.command_line(), re.M | re.S))
    found = dict(verbs(typer.main.get_command(app), "cambench"))
    assert set(sections) == set(found)
    assert {"cambench run", "cambench train head", "cambench figure maps"} <= set(found)
    for name, command in found.items():
        assert (command.help or "").strip().splitlines()[0].split("*")[0][:40] in sections[name].replace("\n", " ")
        for param in command.params:
            if param.param_type_name == "option" and param.name != "help" and not getattr(param, "hidden", False):
                for option in param.opts:
                    assert f"`{option}`" in sections[name], f"{name} {option}"
    assert "| `--seed` | `0` |" in sections["cambench compare"]


def test_protocol_table_has_every_field_and_value(hooks):
    rows = {line.split("|")[1].strip(" `"): line for line in hooks.protocols_table().splitlines() if "|" in line}
    for field in Protocol.model_fields.keys() - {"name", "version", "map_rule"}:
        assert field in rows
        assert "| |" not in rows[field].replace("|  |", "| |"), f"{field} has no description"
    assert {f"map_rule.{part}" for part in MapRule.model_fields} <= rows.keys()
    cells = [cell.strip() for cell in rows["loc_threshold"].split("|")]
    assert cells[2 + PROTOCOLS.names().index("wsoleval")] == "`oracle`"
    assert all(PROTOCOLS.get(name).digest in rows["digest"] for name in PROTOCOLS.names())


def test_tables_list_everything_that_is_registered(hooks):
    built_in = [n for n in METRICS.names() if METRICS._origin.get(n, "").startswith("cambench.")]
    assert len(built_in) >= 14
    assert all(f"| `{name}` |" in hooks.metrics_table() for name in built_in)
    assert all(f"| `{name}` |" in hooks.datasets_table() for name in DATASETS.names())


def test_pages_are_in_the_navigation_and_their_marks_are_known(hooks):
    def files(entry):
        if isinstance(entry, str):
            return [entry]
        values = entry.values() if isinstance(entry, dict) else entry
        return [file for value in values for file in files(value)]

    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    pages = {str(p.relative_to(DOCS)) for p in DOCS.rglob("*.md")}
    assert pages == set(files(config["nav"]))
    for page in pages:
        text = (DOCS / page).read_text(encoding="utf-8")
        assert set(re.findall(r"<!-- generated: (\w+) -->", text)) <= hooks.TABLES.keys(), page
    assert config["theme"]["font"] is False, "no font from another host"


def test_formulae_become_mathml(hooks):
    text = (DOCS / "metrics.md").read_text(encoding="utf-8")

    class Page:
        class file:  # noqa: N801
            src_uri = "metrics.md"

    made = hooks.on_page_markdown(text, page=Page)
    assert "```math" not in made
    assert made.count("<math") == text.count("```math") > 5
    assert "generated:" not in made


def test_relative_links_lead_somewhere():
    pages = [*ROOT.glob("*.md"), *(p for room in ("docs", "results", "examples") for p in (ROOT / room).rglob("*.md"))]
    links = [(page, link) for page in pages for link in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))]
    lost = [
        (str(p.relative_to(ROOT)), link) for p, link in links if "://" not in link and not (p.parent / link).exists()
    ]
    assert len(links) > 20
    assert not lost


def test_every_link_between_pages_leads_to_a_heading_that_is_there():
    toc = pytest.importorskip("markdown.extensions.toc", reason="needs Markdown, which TensorBoard brings")
    pages = {page.relative_to(DOCS).as_posix(): page.read_text(encoding="utf-8") for page in DOCS.rglob("*.md")}
    headings = {
        name: {toc.slugify(heading.replace("`", ""), "-") for heading in re.findall(r"^#+ (.+)$", text, re.M)}
        | set(re.findall(r'id="([\w.-]+)"', text))
        for name, text in pages.items()
    }
    dangling = []
    for name, text in pages.items():
        for target, anchor in re.findall(r"\]\(([\w./-]*\.md)?(?:#([\w.-]+))?\)", text):
            page = (Path(name).parent / target).as_posix() if target else name
            if page.startswith("reference/"):
                continue
            if page not in pages or (anchor and anchor not in headings[page]):
                dangling.append(f"{name}: {target}#{anchor}")
    assert dangling == []
