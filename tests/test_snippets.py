"""The fences of the README and the documentation are executed as printed, page by page, in an empty folder.

A comment above a fence changes that: ``file: NAME`` saves it first, ``parsed`` checks verbs and options only (it needs
data of the reader's), ``not run`` leaves it out. Runs are limited to a dozen images, trainings to three a class.
"""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import typer.main
from PIL import Image
from typer.testing import CliRunner

from cambench.baselines.cams.method import CAMS
from cambench.baselines.contracts import BACKBONES, HEADS
from cambench.bench.cli.app import app
from cambench.bench.engine.head_keeper import HeadKeeper
from cambench.bench.engine.planning.config import RunConfig
from cambench.metrics import METRICS
from cambench.results.records.load import load_run

ROOT = Path(__file__).parents[1]
EXECUTED = [
    "README.md",
    *(f"docs/{n}.md" for n in ("quickstart", "your-cam", "notebook", "own-network", "plugins", "coming-from")),
]
PAGES = sorted(str(p.relative_to(ROOT)) for p in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"(?:<!-- (?P<mark>[^\n]+) -->\n)?^```(?P<language>python|bash)\n(?P<body>.*?)^```$", re.M | re.S)
SMALLER = {
    "run": ["--limit", "12", "--workers", "1", "--device", "cpu"],
    "compare": ["--resamples", "50"],
    "leaderboard": ["--resamples", "50"],
    "figure maps": ["--image", "test/00003.png"],
    "figure distortion": ["--image", "test/00003.png"],
}


def fences(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    return [(m["mark"] or "", m["language"], m["body"]) for m in FENCE.finditer(text)]


def commands(body):
    """Words of every command line of a fence."""
    lines = body.replace("\\\n", " ").splitlines()
    found = [shlex.split(line, comments=True) for line in lines]
    return [words for words in found if words]


def check_words(words):
    """Verb and options of a command exist and fit together; nothing is run."""
    assert words[0] == "cambench", f"not a cambench command: {shlex.join(words)}"
    command, rest = typer.main.get_command(app), words[1:]
    while getattr(command, "commands", None):
        command, rest = command.commands[rest[0]], rest[1:]
    if "--help" not in rest:
        command.make_context(shlex.join(words), list(rest))


def smaller(words):
    """Options that keep a command short."""
    if "--help" in words:
        return []
    return SMALLER.get(words[0]) or SMALLER.get(" ".join(words[:2]), [])


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A folder with one picture, small trainings and runs, and registries that forget what a page registers."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)).save("bird.jpg")
    training, create = HeadKeeper._training_table, RunConfig.create.__func__
    monkeypatch.setattr(HeadKeeper, "_training_table", lambda self, name, branch: training(self, name, branch).head(36))

    def limited(cls, **fields):
        return create(cls, **{"workers": 1, **fields, "limit": min(fields.get("limit") or 12, 12)})

    monkeypatch.setattr(RunConfig, "create", classmethod(limited))
    before = [(r, dict(r._entries), dict(r._origin)) for r in (CAMS, BACKBONES, HEADS, METRICS) if r.names()]
    yield tmp_path
    for registry, entries, origin in before:
        registry._entries, registry._origin = entries, origin


@pytest.mark.parametrize("page", PAGES)
def test_printed_commands_exist(page):
    for mark, language, body in fences(page):
        if language == "python":
            compile(body, page, "exec")
        elif mark != "not run":
            for words in commands(body):
                check_words(words)


@pytest.mark.parametrize("page", EXECUTED)
def test_printed_code_runs(page, small):
    names, executed = {}, 0
    for mark, language, body in fences(page):
        if mark in ("not run", "parsed"):
            continue
        executed += 1
        if mark.startswith("file: "):
            Path(mark.removeprefix("file: ")).write_text(body, encoding="utf-8")
        elif language == "python":
            exec(compile(body, page, "exec"), names)
        else:
            for words in commands(body):
                answer = CliRunner().invoke(app, [*words[1:], *smaller(words[1:])], catch_exceptions=False)
                assert answer.exit_code == 0, f"{shlex.join(words)}\n{answer.output}"
    assert executed
    for check in CHECKS.get(page, ()):
        check(names)


def check_readme(names):
    (code,) = [body for mark, _, body in fences("README.md") if mark == "file: my_cam.py"]
    assert len([line for line in code.splitlines() if line.strip()]) <= 10, "ten lines, as the README says"
    assert {"slim_vgg/my_cam/softmax", "slim_vgg/my_cam/sigmoid"} <= set(load_run("runs/mine").triples)
    assert "My-CAM" in Path("runs/mine/tables/scores.md").read_text()


def check_notebook(names):
    assert names["e"].maps.shape == (3, 224, 224)
    assert "data:image/png" in names["e"]._repr_html_()
    assert "data:image/png" in names["several"]._repr_html_()
    assert len(names["records"]) == len(names["result"].triples) * 12
    assert Path("maps.png").stat().st_size > 10_000


def check_own_network(names):
    assert names["e"].class_names == ("sky", "bird", "tree")
    assert "my_net/cam/sigmoid" in load_run("runs/net").triples


def check_plugins(names):
    assert "Map area" in Path("runs/area/tables/scores.md").read_text()
    assert {"slim_resnet/gradcam/focal", "slim_resnet/gradcam/focal_signed"} <= set(load_run("runs/focal").triples)
    assert "focal (mine)" in Path("runs/focal/tables/scores.md").read_text()


CHECKS = {
    "README.md": (check_readme,),
    "docs/notebook.md": (check_notebook,),
    "docs/own-network.md": (check_own_network,),
    "docs/plugins.md": (check_plugins,),
}
