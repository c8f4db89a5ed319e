"""What a first use of the box kernels says: that it compiles, where it does; nothing where loading is slow."""

import logging
import subprocess
import threading
import time

import numpy as np
import pytest
import torch
from numba import njit, typeof

from cambench.metrics.functional import boxes, maps, pixels
from cambench.metrics.functional.kernels import ahead, basins, histogram, maps_cpu, maxtree, resize
from cambench.metrics.functional.kernels import engine as _engine
from cambench.metrics.functional.kernels.compile_all import compile_all


@pytest.mark.parametrize("compiles", [True, False])
def test_compiling_is_said_where_something_is_compiled(compiles, monkeypatch, caplog):
    def run(*_):
        if compiles:
            njit(lambda x: x + 1)(1)
        else:
            time.sleep(0.05)

    monkeypatch.setattr(_engine, "_ready", threading.Event())
    monkeypatch.setattr(_engine, "PATIENCE", 0.0)
    monkeypatch.setattr(_engine, "run_boxes", run)
    with caplog.at_level(logging.WARNING, "cambench.metrics"):
        _engine.warm_up()
    assert ["compiling: the box kernels" in r.message for r in caplog.records] == [True] * compiles


def test_what_another_thread_compiles_is_not_said(monkeypatch, caplog):
    def run(*_):
        other = threading.Thread(target=lambda: njit(lambda x: x + 2)(1))
        other.start()
        other.join()

    monkeypatch.setattr(_engine, "_ready", threading.Event())
    monkeypatch.setattr(_engine, "PATIENCE", 0.0)
    monkeypatch.setattr(_engine, "run_boxes", run)
    with caplog.at_level(logging.WARNING, "cambench.metrics"):
        _engine.warm_up()
    assert not caplog.records


def test_what_is_compiled_ahead_is_what_the_tensor_code_calls(monkeypatch):
    called: dict[str, set[tuple[object, ...]]] = {}

    def note(module, name):
        kernel = getattr(module, name)

        def noted(*arguments):
            called.setdefault(name, set()).add(tuple(map(typeof, arguments)))
            return kernel(*arguments)

        noted.stats = kernel.stats
        monkeypatch.setattr(module, name, noted)

    kernels = {basins: ["basins_batch"], maxtree: ["maxtree_batch"], histogram: ["count_pixels"]}
    kernels[maps_cpu] = ["resize_taps", "ranges", "rescale", "to_levels"]
    users = {resize: ["resize_taps"], maps: ["ranges", "rescale"], boxes: ["to_levels"], pixels: ["count_pixels"]}
    for module, names in {**kernels, **users}.items():
        for name in names:
            note(module, name)
    compile_all()
    ahead_of_time = {name: set(types) for name, types in called.items()}
    called.clear()
    noise = torch.rand(2, 14, 14, generator=torch.Generator().manual_seed(0))
    truth = [np.array([[3, 4, 200, 190]])] * 2
    for drawn in (noise, noise.half().float()[:, :7, :7], torch.rand(2, 224, 224)):
        norm = maps.locate(drawn, maps.MapRule(), 224)[1]
        boxes.level_ious(boxes.quantize(norm), truth)
        pixels.pixel_histograms(norm, torch.zeros(2, 224, 224, dtype=torch.uint8), "arange1000")
    assert called == ahead_of_time


@pytest.mark.parametrize("ends", ["refused", "dies"])
def test_a_compiling_process_that_fails_does_no_harm(ends, monkeypatch, tmp_path):
    def popen(*_, **__):
        if ends == "refused":
            raise PermissionError
        return real(["false"])

    real = subprocess.Popen
    monkeypatch.setattr(ahead, "_marker", lambda: tmp_path / "none")
    monkeypatch.setattr(ahead, "_helper", None)
    monkeypatch.setattr(_engine, "_ready", threading.Event())
    monkeypatch.setattr(ahead.subprocess, "Popen", popen)
    ahead.begin()
    _engine.warm_up()
    assert not ahead.busy()
    assert not ahead.is_done()


def test_what_was_compiled_is_not_compiled_again(monkeypatch, tmp_path):
    monkeypatch.setattr(ahead, "_marker", lambda: tmp_path / "cache" / "marker")
    monkeypatch.setattr(ahead, "_helper", None)
    monkeypatch.setattr(ahead.subprocess, "Popen", lambda *_, **__: pytest.fail("compiled again"))
    ahead.mark_done()
    ahead.begin()
    assert ahead.is_done()
    assert not ahead.busy()
    monkeypatch.setattr(ahead, "sources_digest", lambda: "other sources")
    assert not ahead.is_done()
