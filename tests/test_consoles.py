"""What is said of the files that a command wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from cambench.consoles import say_written


def test_files_that_lie_together_share_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    tables = [Path("runs/[red]a", "tables", f"{n}.md") for n in ("scores", "leaderboard", "intervals", "throughput")]
    say_written([Path("runs/[red]a/run.json"), *tables])
    say_written([*tables[:2], "x.json"])
    folder = Path("runs/[red]a/tables")
    assert capsys.readouterr().out.splitlines() == [
        f"wrote {Path('runs/[red]a/run.json')}",
        f"wrote 4 files in {folder}: scores.md, leaderboard.md, intervals.md, throughput.md",
        f"wrote {tables[0]}",
        f"wrote {tables[1]}",
        "wrote x.json",
    ]


def test_nothing_written_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    say_written([])
    assert not capsys.readouterr().out
