"""Wrong use is answered before any network or data library is imported."""

import json
import os
import subprocess
import sys

import pytest

HEAVY = ("torch", "timm", "scipy", "pandas", "datasets", "pyarrow", "matplotlib")
PROGRAM = f"""
import contextlib, io, json, sys
from cambench.bench.cli.app import main

for args in json.loads(sys.argv[1]):
    sys.argv, said, code = ["cambench", *args], io.StringIO(), 0
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
    loaded = [name for name in {HEAVY!r} if name in sys.modules]
    print(json.dumps([code, loaded, said.getvalue()]))
"""
CASES = [
    (["--version"], 0, "cambench "),
    (["run", "--help"], 0, "--triples"),
    (["run", "--root", "nowhere"], 2, "--dataset and --out missing"),
    (["run", "--dataset", "cub", "--out", "x", "--root", "nowhere"], 1, "cub: root nowhere does not exist"),
    (["run", "--dataset", "cubb", "--out", "x"], 2, "unknown data set 'cubb'; did you mean 'cub'?"),
    (["run", "--dataset", "cub", "--out", "x", "--protocol", "papr"], 2, "unknown protocol 'papr'; did you mean"),
    (["run", "--dataset", "cub", "--out", "x", "--triples", "a/b"], 2, "triple 'a/b': expected backbone/cam/head"),
    (["run", "--dataset", "cub", "--out", "x", "--triples", "a/{b/c"], 2, "a/{b/c"),
    (["run", "--config", "run.yaml"], 2, "colour"),
    (["--help"], 0, "leaderboard"),
    (["ls"], 0, "gradcam++"),
    (["ls", "cams", "-v"], 0, "forwards"),
    (["ls", "backbones", "slim_*", "-v"], 0, "slim_vgg"),
    (["ls", "heads", "-v"], 0, "sigmoid"),
    (["ls", "metrics", "-v"], 0, "higher"),
    (["ls", "datasets"], 0, "cub"),
    (["ls", "protocols", "-v"], 0, "wsoleval"),
    (["ls", "camz"], 2, "did you mean 'cams'"),
    (["ls", "cams", "gradcan"], 2, "did you mean"),
    (["ls", "cams", "}"], 2, "without '{'"),
    (["run", "--dataset", "cub", "--out", "x"], 1, "--root is needed"),
    (["run", "--dataset", "cub", "--out", "x", "--batch-size", "0"], 2, "--batch-size"),
    (["run", "--dataset", "cub", "--out", "x", "--split", "tset"], 2, "'train', 'val' or 'test'"),
    (["run", "--dataset", "cub", "--out", "x", "--tripels", "a"], 2, "--triples"),
    (
        ["run", "--dataset", "cub", "--out", "x", "--option", "metadata"],
        2,
        "--option 'metadata': expected key=value",
    ),
    (
        ["run", "--dataset", "cub", "--out", "x", "slim_vgg/cam/softmax"],
        2,
        "give triples with their option, --triples 'slim_vgg/cam/softmax'",
    ),
    (
        ["run", "--dataset", "cub", "resnet18", "--out", "x"],
        2,
        "'resnet18' stands alone: networks are named in triples, --triples 'resnet18/gradcam/softmax'",
    ),
    (["run", "cub", "--out", "x"], 2, "'cub' stands alone: data sets are given with their option, --dataset cub"),
    (["run", "gradcam", "--out", "x"], 2, "methods are named in triples, --triples '*/gradcam/*'"),
    (["run", "sigmoid", "--out", "x"], 2, "heads are named in triples, --triples '*/*/sigmoid'"),
    (
        ["run", "--dataset", "cub", "--triples", "--out", "x"],
        2,
        "--triples needs a value, and --out, which is an option",
    ),
    (["leaderboard", "x", "--columns", "--dest", "y"], 2, "--columns needs a value, and --dest, which is an option"),
    (["help", "run"], 0, "--triples"),
    (["help", "train", "head"], 0, "--backbone"),
    (["help"], 0, "leaderboard"),
    (["explain", "bird.jpg"], 2, "explain is no command but a function of Python, cambench.explain(…); on the command"),
    (["run", "--out", "x", "."], 2, "'.' stands alone: give the folder of the data with its option, --root ."),
    (
        ["run", "--dataset", "cub", "--out", "x", "--triples", "resnet18/gradcam/softmax"],
        2,
        "write timm:resnet18/gradcam/softmax",
    ),
    (
        ["run", "--dataset", "cub", "--out", "x", "--triples", "gradcam/softmax/vgg16"],
        2,
        "the order is backbone/cam/head; write vgg16/gradcam/softmax",
    ),
    (["run", "--dataset", "cub", "--out", "x", "--triples", "vgg16/gradcan/softmax"], 2, "unknown CAM method"),
    (["figure", "maps", "--out", "x", "--triples", "a/b"], 2, "expected backbone/cam/head"),
    (["figure", "contact-sheet", "--out", "x", "--dataset", "cubb"], 2, "did you mean 'cub'"),
    (["figure", "distortion", "--out", "x", "--backbone", "slim_vg"], 2, "did you mean 'slim_vgg'"),
    (["time", "--triples", "slim_vgg/cam/softmax", "--protocol", "papr"], 2, "did you mean 'paper'"),
    (["train", "head", "--backbone", "vgg16", "--dataset", "cub", "--out", "x.safetensors"], 1, "--root is needed"),
    (["train", "head", "--backbone", "vgg16", "--dataset", "cub", "--out", "x.pt"], 2, "ending in .safetensors"),
    (["train", "backbone", "--recipe", "cub-resnet5", "--out", "x.safetensors"], 2, "unknown backbone recipe"),
    (["doctor", "cub", "--root", "nowhere"], 2, "cub: root nowhere does not exist"),
    (["compare", "nowhere", "a/b/c"], 2, "'nowhere' is neither a run folder nor a triple"),
    (["compare", "a/b/c", "a/b/d"], 2, "no run folder among"),
    (["compare", ".", "a/b/c", "a/b/d"], 2, ". is not a run folder: it has no run.json"),
    (["compare", ".", "--level", "95"], 2, "--level '95': expected a fraction"),
    (["leaderboard", "nowhere"], 1, "nowhere is not a run folder"),
    (["report", "nowhere"], 1, "nowhere is not a run folder"),
    (["figure", "pareto", "nowhere", "--out", "x.png"], 1, "nowhere is not a run folder"),
    (["leaderboard", "nowhere", "--layout", "paper3"], 2, "--layout 'paper3': expected 'compact', 'full'"),
    (["factorial", "--backbone", "vgg16", "--dataset", "cub", "--out", "x", "--root", "no"], 1, "does not exist"),
    (["run", "--dataset", "cub", "--out", "s3://bucket/run"], 2, "s3://bucket/run: results are written to a folder"),
    (["report", "nowhere", "--dest", "hf://user/x.html"], 2, "hf://user/x.html: results are written to a folder"),
    (["rescore", "nowhere", "--out", "gs:/bucket"], 2, "gs://bucket: results are written to a folder"),
    (
        ["run", "--dataset", "synthbirds", "--out", "x", "--on", "kubernetes"],
        2,
        "--on 'kubernetes': expected local, torchrun, ray, ray:ADDRESS, slurm",
    ),
    (["run", "--dataset", "synthbirds", "--out", "x", "--on-option", "a=1"], 2, "--on local have no options"),
]


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What each case is answered, by one process after the other: exit code, heavy libraries loaded so far, text."""
    folder = tmp_path_factory.mktemp("early")
    (folder / "run.yaml").write_text("dataset: cub\nout: x\ncolour: red\n")
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps([args for args, _, _ in CASES])],
        capture_output=True, text=True, cwd=folder, timeout=300, env={**os.environ, "COLUMNS": "200"},
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert not (folder / "x").exists()
    return [json.loads(line) for line in found.stdout.splitlines()]


@pytest.mark.parametrize("case", range(len(CASES)), ids=[" ".join(args) for args, _, _ in CASES])
def test_wrong_use_loads_no_heavy_library(answers, case):
    (_, code, said), (found, loaded, text) = CASES[case], answers[case]
    assert (found, loaded) == (code, []), text
    assert said in " ".join(text.replace("│", " ").split())
