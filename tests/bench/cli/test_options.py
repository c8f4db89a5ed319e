"""An option is one field: command line, YAML, Python keywords and reference pages have it from there."""

from typing import Any

import pytest
import typer
from pydantic import Field
from typer.testing import CliRunner

from cambench.bench.cli.options import command, field_rows
from cambench.bench.engine.planning.config import RunConfig, read_config
from cambench.bench.host.errors import UsageError


class Dyed(RunConfig):
    """A run with one more option."""

    colour_depth: int = Field(8, ge=1, le=16, description="Bits of a colour.")


@pytest.fixture
def app():
    made, seen = typer.Typer(), []

    @made.command()
    @command(Dyed)
    def run(request: Dyed) -> None:
        """Run."""
        seen.append(request)

    return made, seen


def test_a_field_is_an_option_a_key_a_keyword_and_a_row_of_the_reference(app: Any, tmp_path: Any) -> None:
    verb, seen = app
    shown = CliRunner().invoke(verb, ["--help"], env={"COLUMNS": "160"}).stdout
    assert "--colour-depth" in shown
    assert "Bits of a colour." in shown
    done = CliRunner().invoke(verb, ["--dataset", "cub", "--out", "x", "--colour-depth", "4"])
    assert done.exit_code == 0, done.output
    assert seen[0].colour_depth == 4
    file = tmp_path / "run.yaml"
    file.write_text("dataset: cub\nout: x\ncolour_depth: 5\n")
    assert read_config(file, {}, Dyed).colour_depth == 5
    assert Dyed.create(dataset="cub", out="x", colour_depth=6).colour_depth == 6
    assert ("colour_depth", "--colour-depth", "8", "Bits of a colour.") in field_rows(Dyed)


def test_its_check_is_the_same_everywhere(app: Any, tmp_path: Any) -> None:
    refused = CliRunner().invoke(app[0], ["--dataset", "cub", "--out", "x", "--colour-depth", "99"])
    assert refused.exit_code == 2
    assert "--colour-depth" in refused.output
    file = tmp_path / "run.yaml"
    file.write_text("dataset: cub\nout: x\ncolour_depth: 99\n")
    for ask in (lambda: read_config(file, {}, Dyed), lambda: Dyed.create(dataset="cub", out="x", colour_depth=99)):
        with pytest.raises(UsageError, match="colour_depth: Input should be less than or equal to 16"):
            ask()
