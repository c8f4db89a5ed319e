"""The command line: exit codes, readable errors, worked examples."""

import errno
import json
import os
import pickle
import py_compile
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import typer
from rich.text import Text
from typer.testing import CliRunner

from cambench.bench.cli import app as cli
from cambench.bench.cli.app import _plain, app, main

VERBS = (
    "run", "train", "ls", "leaderboard", "compare", "time", "figure", "doctor", "download", "report",
    "reproduce", "factorial",
)  # fmt: skip


@pytest.fixture
def cambench(monkeypatch, capfd):
    """Run the command in this process: ``cambench(*args) -> (exit code, stdout, stderr)``."""

    def invoke(*args):
        monkeypatch.setattr(sys, "argv", ["cambench", *map(str, args)])
        monkeypatch.setenv("COLUMNS", "200")
        code = 0
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return invoke


def on_blobs(blobs, out, *triples):
    root, metadata = blobs
    flags = [x for t in triples for x in ("--triples", t)]
    return ("run", "--dataset", "wsol", "--root", root, "--metadata", metadata, "--out", out, "--workers", 1, *flags)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_worked_example(verb):
    answer = CliRunner().invoke(app, [verb, "--help"])
    assert answer.exit_code == 0
    text = answer.output
    if verb == "train":
        text = "".join(CliRunner().invoke(app, [verb, kind, "--help"]).output for kind in ("backbone", "head"))
    assert f"cambench {verb}" in text


def commands(group, path=()):
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


def test_every_verb_that_reads_data_takes_the_data_sets_options(cambench, blobs, tmp_path):
    readers = {name: command for name, command in commands(typer.main.get_command(app)) if _has(command, "metadata")}
    assert len(readers) > 9
    assert [name for name, command in readers.items() if not _has(command, "options")] in ([], ["download"])
    root, metadata = blobs
    data = ("--dataset", "wsol", "--root", root, "--device", "cpu")
    given = ("--option", f"metadata={metadata}")
    timed = ("time", "--triples", "slim_resnet/cam/softmax", "--batch-size", 2, "--batches", 2, *data)
    assert cambench(*timed, *given)[0] == 0
    trained = ("train", "head", "--backbone", "slim_resnet", "--evaluate", "none", *data)
    assert cambench(*trained, *given, "--out", tmp_path / "a.safetensors")[0] == 0
    for command in (timed, (*trained, "--out", tmp_path / "b.safetensors")):
        code, _, error = cambench(*command, "--option", "metadata")
        assert code == 2
        assert "--option 'metadata': expected key=value" in error


def _has(command, name):
    return any(option.name == name for option in command.params)


def test_help_of_every_option_is_shown_as_it_is_written():
    """Square brackets are markup to the help's renderer: a default written in them was not shown."""
    seen = 0
    for name, command in commands(typer.main.get_command(app)):
        for option in command.params:
            if option.name == "help":
                continue
            assert option.help, f"{name} {option.name}: no help"
            assert Text.from_markup(option.help).plain == option.help, f"{name} {option.name}"
            seen += 1
    assert seen > 150


def test_run_then_leaderboard(cambench, blobs, tmp_path):
    code, out, err = cambench(*on_blobs(blobs, tmp_path / "out", "slim_resnet/{cam,center}/softmax"))
    assert code == 0, err
    assert "scores.md" in out
    before = (tmp_path / "out" / "tables" / "scores.tex").read_bytes()
    code, out, err = cambench("leaderboard", tmp_path / "out", "--dest", tmp_path / "again")
    assert code == 0, err
    assert (tmp_path / "again" / "scores.tex").read_bytes() == before


def test_a_config_file_and_an_override(cambench, blobs, tmp_path):
    root, metadata = blobs
    config = tmp_path / "config.yaml"
    fields = {"dataset": "wsol", "root": str(root), "options": {"metadata": str(metadata)}, "out": str(tmp_path / "a")}
    config.write_text(json.dumps({**fields, "triples": ["slim_resnet/cam/softmax"], "workers": 1}))
    code, _, err = cambench("run", "--config", config, "--out", tmp_path / "b")
    assert code == 0, err
    assert (tmp_path / "b" / "run.json").exists()
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("run",), "--dataset and --out missing"),
        (("run", "--dataset", "synthbird", "--out", "x"), "did you mean 'synthbirds'"),
        (("run", "--dataset", "synthbirds", "--out", "x", "--triples", "a/b"), "backbone/cam/head"),
        (("run", "--dataset", "synthbirds", "--out", "x", "--protocol", "papr"), "did you mean 'paper'"),
        (("run", "--dataset", "synthbirds", "--out", "x", "--device", "tpu0"), "expected auto, cpu, cuda"),
        (("run", "--dataset", "synthbirds", "--out", "x", "--plugin", "absent.py"), "no such file"),
        (("run", "--dataset", "synthbirds", "--out", "x", "--triples", ""), "no triple is asked for"),
        (("run", "--config", "absent.yaml"), "no such file"),
        (("ls", "backbonez"), "did you mean 'backbones'"),
        (("nonsense",), "No such command"),
    ],
)
def test_wrong_use_exits_with_2(cambench, tmp_path, monkeypatch, args, message):
    monkeypatch.chdir(tmp_path)
    code, _, err = cambench(*args)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert not (tmp_path / "x").exists()


def test_missing_data_exits_with_1_and_says_what_was_expected(cambench, tmp_path):
    code, _, err = cambench(
        "run", "--dataset", "wsol", "--root", tmp_path / "none", "--metadata", tmp_path, "--out", tmp_path / "x"
    )
    assert code == 1
    assert "none" in err
    assert "Traceback" not in err


class Hostile:
    """A pickle that runs code when it is loaded."""

    def __init__(self, proof):
        self.proof = proof

    def __reduce__(self):
        return (open, (str(self.proof), "w"))


def test_a_hostile_pickle_is_refused_and_not_run(cambench, blobs, tmp_path):
    proof, file = tmp_path / "proof", tmp_path / "weights.pth"
    file.write_bytes(pickle.dumps(Hostile(proof)))
    code, _, err = cambench(*on_blobs(blobs, tmp_path / "out", "slim_resnet/cam/softmax"), "--weights", file)
    assert code == 1
    assert "not plain weights" in err
    assert not proof.exists()
    assert not (tmp_path / "out").exists()


def test_weights_that_do_not_fit_name_the_keys(cambench, blobs, tmp_path):
    from cambench.baselines.backbones.opening import open_backbone
    from cambench.baselines.weights.weight_files import save_state

    file = tmp_path / "w.safetensors"
    state = {k: v for k, v in open_backbone("slim_vgg").state_dict().items() if not k.startswith("heads.sigmoid")}
    save_state(file, state, {})
    code, _, err = cambench(*on_blobs(blobs, tmp_path / "out", "slim_resnet/cam/softmax"), "--weights", file)
    assert code == 1
    assert "missing" in err
    assert "unexpected" in err


def test_module_entry_point():
    answer = subprocess.run([sys.executable, "-m", "cambench", "--version"], capture_output=True, text=True, check=True)
    assert answer.stdout.startswith("cambench 0.")


def test_help_is_quick_to_import():
    heavy = "torch pandas timm numba datasets"
    code = f"import cambench.bench.cli.app, sys; print([m for m in '{heavy}'.split() if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_a_full_disk_is_named(monkeypatch, capsys):
    def full():
        raise OSError(errno.ENOSPC, "No space left on device", "out/run.json")

    monkeypatch.setattr(cli, "app", full)
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert stopped.value.code == 1
    told = capsys.readouterr().err
    assert "No space left on device: 'out/run.json': the disk or its quota is full" in told
    assert "Free space and give the same command again" in told


@pytest.mark.parametrize("code", [errno.ENOTDIR, errno.EEXIST])
def test_a_file_where_a_folder_is_needed_is_said(monkeypatch, capsys, code):
    def there():
        raise OSError(code, os.strerror(code), "out/x")

    monkeypatch.setattr(cli, "app", there)
    with pytest.raises(SystemExit):
        cli.main()
    assert "stands where a folder is needed; name another place" in " ".join(capsys.readouterr().err.split())


def test_warnings_of_pillow_do_not_come_before_our_words(monkeypatch):
    def warns():
        warnings.warn_explicit("could be decompression bomb", UserWarning, "Image.py", 1, module="PIL.Image")
        warnings.warn_explicit("of the user's own code", UserWarning, "my_cam.py", 1, module="my_cam")

    monkeypatch.setattr(cli, "app", warns)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        cli.main()
    assert [str(w.message) for w in said] == ["of the user's own code"]


def test_an_error_shows_control_characters_as_text():
    shown = _plain(ValueError("a\u202eb \x1b[31mred\x07\n  [bold]next"))
    assert shown == "a\\u202eb \\x1b[31mred\\x07\n  \\[bold]next"


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("raise SystemExit(3)", 2, "plugin my.py, line 1: SystemExit: 3"),
        ("raise KeyboardInterrupt", 1, "interrupted; run the same command again to continue"),
    ],
)
def test_no_end_is_without_a_word(cambench, tmp_path, monkeypatch, text, code, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.py").write_text(text)
    found, _, shown = cambench("ls", "cams", "--plugin", "my.py")
    assert found == code
    assert said in shown


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("gzip.decompress(b'\\x1f\\x8b\\x08')", "a file ends too early: was it fetched or copied in full?"),
        ("import cut_short", "a compiled file of Python is cut short: remove the folders __pycache__"),
    ],
)
def test_a_file_that_ends_too_early_is_said(cambench, tmp_path, monkeypatch, where, said):
    """typer ends with "Aborted." there. A full disk cuts what Python compiles, and every later start failed so."""
    monkeypatch.syspath_prepend(tmp_path)
    source = tmp_path / "cut_short.py"
    source.write_text("x = 1\n" * 50)
    compiled = Path(py_compile.compile(str(source)))
    compiled.write_bytes(compiled.read_bytes()[:20])
    monkeypatch.setattr("cambench.bench.cli.ls.show", lambda *_: exec(f"import gzip\n{where}"))
    code, _, shown = cambench("ls", "cams")
    assert code == 1
    assert said in " ".join(shown.split())


def _to_the_terminal(message, category, filename, lineno, file=None, line=None):
    sys.stderr.write(warnings.formatwarning(message, category, filename, lineno, line))


def test_a_warning_is_a_line(monkeypatch, capsys):
    """It came with the line of code that said it."""

    def said():
        warnings.warn("weights w.pth: model is read, and model_ema is not", UserWarning, stacklevel=1)

    monkeypatch.setattr(cli, "app", said)
    monkeypatch.setattr(warnings, "showwarning", _to_the_terminal)
    before = warnings.formatwarning
    main()
    assert capsys.readouterr().err == "warning: weights w.pth: model is read, and model_ema is not\n"
    assert warnings.formatwarning is before
