"""Any options of any verb: an answer, or a sentence and an exit code; never a traceback, never silence."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import pytest
import typer
from fuzzing import examples, search
from hypothesis import strategies as st

from cambench.bench.cli.app import app, main
from cambench.bench.host.errors import RunError
from cambench.bench.notebook.runs import run

HEAVY = (
    *("bench.notebook.runs.run", "bench.timing.stage_times.time_pass", "bench.figures.map_grid.draw_maps"),
    *("bench.training.backbone.train_backbone", "bench.training.head.train_head", "datasets.fetch.download"),
    *("bench.paper.distortion_figure.draw_distortion", "bench.paper.reproduce.reproduce", "bench.search.search.search"),
    *("bench.paper.factorial.factorial", "bench.engine.again.finished_before", "bench.cli.dry_run.show"),
)
"""Where a command that is understood would begin to compute: it ends there."""
DATA = ("--dataset", "wsol", "--root", "IMAGES", "--metadata", "METADATA")
NET = ("--backbone", "slim_resnet")
COMMANDS = {
    "run": (*DATA, "--triples", "slim_resnet/cam/softmax", "--out", "new"),
    "time": (*DATA, "--triples", "slim_resnet/cam/softmax"),
    "ls": ("cams",),
    "leaderboard": ("RUN",),
    "compare": ("RUN", "slim_resnet/cam/softmax", "slim_resnet/center/softmax"),
    "report": ("RUN", "--dest", "page"),
    "rescore": ("RUN", "--out", "again"),
    "export maps": ("RUN", "maps"),
    "doctor": ("wsol", "--root", "IMAGES", "--option", "metadata=METADATA"),
    "download": ("cub", "--root", "new"),
    "reproduce": ("table1", "--data-root", "IMAGES"),
    "factorial": (*NET, *DATA, "--out", "new"),
    "search": (*NET, *DATA, "--out", "new"),
    "train head": (*NET, *DATA, "--out", "new.safetensors"),
    "train backbone": (*NET, *DATA, "--recipe", "synthbirds", "--out", "new.safetensors"),
    "train keys": ("slim_resnet", "GARBAGE"),
    "figure maps": (*DATA, "--triples", "slim_resnet/cam/softmax", "--out", "new"),
    "figure distortion": (*NET, *DATA, "--out", "new"),
    "figure pareto": ("RUN", "--out", "new"),
    "figure contact-sheet": (*DATA, "--out", "new.png"),
}
VALUES = st.sampled_from(
    [
        *("", " ", "0", "1", "2", "-1", "0.5", "nan", "inf", "1e999", "9" * 30, "true", "x", "é", "e\u0301", "\udcff"),
        *("=", "a=b", "a=", "=b", "*", "?", "[", "{a", "a}", "{a,b}", "a/b/c", "a/b", "*/*/*", "a,b", ",", "../x"),
        *("cpu", "meta", "cuda:99", "cuda", "none", "auto", "test", "val", "cub", "synthbirds", "paper", "wsoleval"),
        *("slim_vgg", "cam", "sigmoid", "timm:x", "vgg16_gap+adl", "max_box_acc_v2", "pxap", "float16", "[/red]"),
        *("RUN", "IMAGES", "METADATA", "GARBAGE", "EMPTY", "PICTURE", "YAML", "missing/deeper", "GARBAGE/below"),
        *("*=GARBAGE", "slim_resnet=GARBAGE", "slim_resnet=missing", "x=EMPTY", "RUN/run.json", "limit=x", "a\nb"),
    ]
)


def commands(group, path=()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


VERBS = dict(commands(typer.main.get_command(app)))
# Of the executors only what is refused at once: they would start other processes.
FLAGS = {
    verb: [
        (flag, getattr(p, "is_flag", False))
        for p in command.params
        for flag in (*p.opts, *p.secondary_opts)
        if flag.startswith("-") and flag not in ("--help", "--processes")
    ]
    for verb, command in VERBS.items()
}


@st.composite
def lines(draw):
    """A command that is right but for a few options, which may come twice, in any order, and with any value."""
    verb = draw(st.sampled_from(sorted(COMMANDS)))
    words = list(COMMANDS[verb])
    for _ in range(draw(st.integers(1, 3))):
        change = draw(st.sampled_from(["flag", "flag", "flag", "value", "drop", "argument"]))
        if change == "flag":
            flag, switch = draw(st.sampled_from(FLAGS[verb]))
            words += [flag] if switch else [flag, draw(VALUES)]
        elif change == "argument":
            words.insert(draw(st.integers(0, len(words))), draw(VALUES))
        elif words:
            at = draw(st.integers(0, len(words) - 1))
            words[at : at + 1] = [draw(VALUES)] if change == "value" else []
    return [*verb.split(), *words]


def test_every_verb_is_tried():
    assert set(COMMANDS) == set(VERBS)


@pytest.fixture
def given(blobs, settings, tmp_path, monkeypatch):
    """What the capital words of a command stand for; the heavy parts are stopped."""
    root, metadata = blobs
    work = tmp_path / "deep" / "work"
    (work / "empty").mkdir(parents=True)
    (work / "garbage").write_bytes(bytes(range(256)) * 4)
    (work / "some.yaml").write_text("dataset: wsol\nlimit: x\n")
    run(**settings, limit=4, keep_maps=True)
    monkeypatch.chdir(work)
    monkeypatch.setenv("COLUMNS", "200")

    def stop(*_, **__):
        raise RunError("stopped: everything was understood")

    for name in HEAVY:
        module, _, function = f"cambench.{name}".rpartition(".")
        __import__(module)
        monkeypatch.setattr(sys.modules[module], function, stop)
    return {
        "RUN": settings["out"],
        "IMAGES": root,
        "METADATA": metadata,
        "GARBAGE": work / "garbage",
        "EMPTY": work / "empty",
        "PICTURE": root / "test" / "000.jpg",
        "YAML": work / "some.yaml",
    }


def check(given, monkeypatch, capfd, words):
    for name, path in given.items():
        words = [w.replace(name, str(path)) for w in words]
    monkeypatch.setattr(sys, "argv", ["cambench", *words])
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code or 0
    shown = "".join(capfd.readouterr())
    assert code in (0, 1, 2)
    assert shown.strip() or code == 0, "an exit code without a word"
    assert "Traceback" not in shown


@examples(30, 3000)
def test_any_options(given, monkeypatch, capfd, examples):
    search(examples, partial(check, given, monkeypatch, capfd), words=lines())
    assert Path.cwd().name == "work"
