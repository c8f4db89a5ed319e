"""``cambench doctor device``: the checks on the CPU and on a simulated device, a wrong engine, and the advice."""

import pytest
import torch
from simulated_device import SIM
from typer.testing import CliRunner

from cambench.baselines.backbones.opening import open_backbone
from cambench.bench.cli.app import app
from cambench.bench.host.errors import UsageError
from cambench.bench.timing import device_checks, device_doctor, device_rates
from cambench.bench.timing.device_checks import BuiltIn, DeviceCheck, check_device
from cambench.bench.timing.device_doctor import advise

STEPS = ["forward", "maps", "levels", "histograms", "fidelity", "boxes, tensor", "boxes, triton"]


@pytest.fixture(scope="module")
def network():
    return open_backbone("slim_resnet", num_classes=None).freeze()


def test_a_device_that_computes_as_the_cpu_passes_every_step(network, simulated):
    found = list(check_device(network, BuiltIn.of(2, 224), SIM))
    assert [check.step for check in found] == STEPS
    assert all(check.ok for check in found), found
    assert all("equal to the bit" in found[k].said for k in (3, 5))


def test_what_a_device_gets_wrong_is_told_step_by_step(network, simulated, monkeypatch):
    right = device_checks.run_on_device

    def broken(levels, boxes, offsets, engine):
        found = right(levels, boxes, offsets, engine)
        found.single[1, 7] += 2**-40
        return found

    def fails(*_):
        raise RuntimeError("no such operator on sim")

    monkeypatch.setattr(device_checks, "run_on_device", broken)
    monkeypatch.setattr(device_checks, "pixel_histograms", fails)
    found = {check.step: check for check in check_device(network, BuiltIn.of(2, 224), SIM)}
    assert [step for step, check in found.items() if not check.ok] == ["histograms", "boxes, tensor"]
    assert found["boxes, tensor"].said == "1 values of the curves differ"
    assert found["histograms"].said == "failed: no such operator on sim"


def test_the_verb_says_figures_and_advice_and_fails_where_a_step_does(monkeypatch):
    monkeypatch.setattr(device_doctor, "IMAGES", 2)
    monkeypatch.setattr(device_rates, "ROUNDS", 1)
    monkeypatch.setattr(device_doctor, "forward_rates", lambda n, d, sizes, t: dict.fromkeys(sizes, 10.0))
    found = CliRunner().invoke(app, ["doctor", "device", "--device", "cpu"])
    assert found.exit_code == 0, found.output
    assert "advice --batch-size 1" in found.output
    assert "GB/s" in found.output
    assert "timing forwards by batch size" in found.output
    wrong = DeviceCheck(step="boxes, tensor", ok=False, said="1 values of the curves differ")
    monkeypatch.setattr(device_doctor, "check_device", lambda *_: [wrong])
    found = CliRunner().invoke(app, ["doctor", "device", "--device", "cpu"])
    assert found.exit_code == 1
    assert "do not trust this device with: tensor" in found.output


def test_no_such_device():
    found = CliRunner().invoke(app, ["doctor", "device", "--device", "cuda:99"])
    assert isinstance(found.exception, UsageError)


def test_the_advice_follows_from_the_figures():
    rates, decoding = {1: 10.0, 16: 96.0, 64: 100.0}, {1: 30.0, 2: 60.0, 4: 61.0}
    bad = [DeviceCheck(step="boxes, triton", ok=False, said="")]
    lines = advise(rates, {"bfloat16": {64: 150.0}}, decoding, {"cpu": 2.0, "tensor": 0.5, "triton": 0.1}, bad)
    assert lines[0].startswith("--batch-size 16 ")
    assert lines[1].startswith("--dtype bfloat16 ")
    assert lines[2:4] == ["--workers 2", "--box-engine tensor"]
    assert "60 images/s" in lines[4]
    assert "triton" in lines[5]
    assert lines[1].startswith("--dtype bfloat16 is 1.5 times as fast")

    def dtype_of(**of):
        return advise(rates, {name: {64: rate} for name, rate in of.items()}, {1: 99.0}, {"cpu": 1.0}, [])[1]

    assert dtype_of(bfloat16=105.0) == "--dtype float32 (bfloat16 gains nothing here)"
    assert dtype_of(tf32=105.0, bfloat16=101.0) == "--dtype float32 (tf32 and bfloat16 gain nothing here)"
    assert dtype_of(tf32=300.0, bfloat16=310.0).startswith("--dtype tf32 is 3.0 times")
    assert dtype_of(tf32=300.0, bfloat16=500.0).startswith("--dtype bfloat16 is 5.0 times")


def test_rates_are_of_what_was_done():
    assert set(device_rates.decode_rates(2)) >= {1}
    assert device_rates.memory_gib(torch.device("cpu"))[1] > 0.5
