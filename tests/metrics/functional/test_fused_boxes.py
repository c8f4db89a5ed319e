"""The box engine of Triton programs, under Triton's interpreter, which must be asked for before Triton is imported."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cambench.metrics.functional.boxes import level_ious
from cambench.metrics.functional.kernels.fused import whether
from cambench.metrics.functional.kernels.fused.whether import room_of_program, why_not_fused

HERE = Path(__file__).parent
NO_BOXES = [np.zeros((0, 4), int)]


def python(*arguments, interpret):
    env = {**os.environ, "TRITON_INTERPRET": interpret}
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, env=env)


def sweep(*arguments):
    pytest.importorskip("triton", minversion="3.9")
    found = python(HERE / "fused_sweep.py", *arguments, interpret="1")
    assert found.returncode == 0, found.stderr[-3000:]
    return json.loads(found.stdout.splitlines()[-1])


def test_small_maps_equal_the_compiled_kernels_and_crowded_ones_go_to_them():
    found = sweep(3, 5, 10, 1, 64, "cam", "nested")
    assert found == {"maps": 2, "served": 2}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("low", "high", "block", "share"),
    [(1, 6, 16, 0.5), (7, 40, 128, 0.5), (41, 90, 1024, 0.5), (200, 224, 1024, 0.3)],
)
def test_long_sweep(low, high, block, share):
    """Every map that it serves is equal, and it serves at least this share of the sixteen kinds of maps.

    On large maps plateaus, noise, rings, checkerboards and the like have more basins than a program has room for.
    """
    found = sweep(4, low, high, 2 if high < 100 else 1, block)
    assert found["served"] >= share * found["maps"]


COMPILE = """
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from cambench.metrics.functional.kernels.fused.map_program import map_program
types = ["*u8", "*i64", "*fp64", "*i32", "i32", "i32", "i32", "constexpr"]
types = dict(zip(map_program.arg_names, types, strict=True))
source = ASTSource(map_program, signature=types, constexprs={"BLOCK": 1024})
print(len(triton.compile(source, target=GPUTarget("cuda", 90, 32)).asm["cubin"]))
"""


@pytest.mark.slow
def test_it_compiles_for_an_h100_where_there_is_none(tmp_path):
    pytest.importorskip("triton")
    file = tmp_path / "compile.py"
    file.write_text(COMPILE)
    found = python(file, interpret="0")
    assert found.returncode == 0, found.stderr[-3000:]
    assert int(found.stdout) > 10_000


def test_where_it_cannot_run_it_says_why(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    levels = torch.zeros(1, 4, 4, dtype=torch.uint8)
    with pytest.raises(ValueError, match="'triton' needs (a CUDA device, and the maps are on cpu|Triton)"):
        level_ious(levels, NO_BOXES, engine="triton")
    monkeypatch.setattr(whether, "version", lambda name: "3.0.0")
    if whether.importlib.util.find_spec("triton"):
        assert "tried with Triton 3.9 and later, and 3.0.0 is installed" in str(why_not_fused(torch.device("cuda")))
    monkeypatch.setattr(whether.importlib.util, "find_spec", lambda name: None)
    assert "'triton' needs Triton" in str(why_not_fused(torch.device("cuda")))


def test_the_room_of_a_program_is_what_it_takes():
    assert room_of_program(224 * 224) == 4 * (92352 + 3 * (224 * 224 + 1)) + 6144


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_device_equals_the_compiled_kernels():
    pytest.importorskip("triton")
    rng = np.random.default_rng(11)
    levels = torch.from_numpy(rng.integers(0, 4, (16, 60, 70)).astype(np.uint8) * 60)
    boxes = [np.array([[3, 4, 40, 50], [0, 0, 9, 9]])] * 16
    here, there = level_ious(levels, boxes, engine="cpu"), level_ious(levels.cuda(), boxes, engine="triton")
    assert all(torch.equal(a, b.cpu()) for a, b in zip(here, there, strict=True))
