"""``cambench doctor`` and ``cambench download`` as a user runs them: words and exit codes."""

from __future__ import annotations

import pytest
import typer
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from cambench.bench.cli import data as cli_data
from cambench.bench.cli.ls import show
from cambench.bench.engine.networks import tell_warnings
from cambench.bench.host.errors import UsageError
from cambench.datasets.open import open_table

app = typer.Typer()
app.command()(cli_data.doctor)
app.command()(cli_data.download)


@pytest.fixture
def invoke(monkeypatch, tmp_path):
    monkeypatch.setenv("CAMBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cli_data.out, "width", 200)
    return lambda *arguments: CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def animals(tmp_path):
    for name in ("ant", "bee"):
        (tmp_path / "data" / name).mkdir(parents=True)
        Image.new("L" if name == "bee" else "RGB", (9, 8)).save(tmp_path / "data" / name / "a.png")
    return tmp_path / "data"


def test_doctor_of_a_healthy_folder(invoke, animals):
    result = invoke("doctor", "folder", "--root", animals, "--deep")
    assert result.exit_code == 0, result.output
    assert "class folders" in result.output
    assert "2 of 2" in result.output
    assert "not RGB, converted on loading: 1 L" in result.output


def test_doctor_finds_problems(invoke, animals):
    (animals / "ant" / "a.png").write_bytes(b"no image")
    result = invoke("doctor", "folder", "--root", animals, "--deep", "--split", "test")
    assert result.exit_code == 1
    assert "cannot be decoded: ant/a.png: not an image" in result.output
    result = invoke("doctor", "cub", "--root", animals)
    assert result.exit_code == 1
    assert "97eceeb196236b17998738112f37df78" in result.output


def test_wrong_use(invoke, animals, tmp_path):
    assert isinstance(invoke("doctor", "cub", "--root", tmp_path / "none").exception, UsageError)
    assert isinstance(invoke("doctor", "folder", "--root", animals, "--split", "tset").exception, UsageError)
    assert isinstance(invoke("doctor", "folder", "--root", animals, "--option", "x").exception, UsageError)
    assert invoke("doctor").exit_code == 2


@pytest.mark.parametrize("command", ["doctor", "download"])
def test_help_has_a_worked_example(invoke, command):
    result = invoke(command, "--help")
    assert result.exit_code == 0
    assert f"cambench {command} cub --root ~/data" in result.output


def test_the_cards_of_data_sets_fit_a_narrow_terminal(capsys):
    show(Console(width=80), "datasets", "{cub,openimages30k}", True)
    cub, openimages = capsys.readouterr().out.split("OpenImages-30K (openimages30k)")
    lines = [line.rstrip() for line in (*cub.splitlines(), *openimages.splitlines())]
    assert max(map(len, lines)) <= 80
    words = " ".join(" ".join(lines).split())
    assert (
        "CUB-200-2011 (cub) images train 5,994, test 5,794; classes: 200 truth boxes, masks metrics Top-1 Cls," in words
    )
    assert "PxAP" in cub
    assert "MaxBoxAccV2" in cub
    assert "MaxBoxAccV2" not in openimages
    assert "--option missing= error (default) or skip" in words


def test_a_run_tells_what_is_odd_about_the_data(invoke, animals, capfd):
    (animals / "cow").mkdir()
    table = open_table("folder", animals)
    assert table.warnings == (f"{animals}: 1 classes have no image here: cow",)
    assert any("no boxes" in note for note in table.notes)
    tell_warnings(table)
    assert capfd.readouterr().err == f"folder test: {animals}: 1 classes have no image here: cow\n"
