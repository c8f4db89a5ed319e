"""An accelerator that fails in the middle of a run: said with device and step, and the same command goes on."""

import pytest
import torch

from cambench.bench.engine.scoring import located, losses
from cambench.bench.host.errors import RunError
from cambench.bench.notebook.runs import run

ERRORS = [RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors might be reported later")]
if hasattr(torch, "AcceleratorError"):
    ERRORS.append(torch.AcceleratorError("CUDA error: unspecified launch failure"))


@pytest.mark.parametrize("error", ERRORS[-1:])
def test_what_is_written_stays_and_the_same_command_goes_on(error, settings, simulated, monkeypatch):
    settings |= {"triples": ("slim_resnet/{gradcam,layercam}/softmax",), "device": "sim"}
    right, calls = located.quantize, []

    def fails(norm):
        calls.append(norm)
        if len(calls) == 2:
            raise error
        return right(norm)

    monkeypatch.setattr(located, "quantize", fails)
    told = (
        r"slim_resnet: sim:0 failed at the step 'resize' \(CUDA error: unspecified launch failure\); its shard is not"
    )
    with pytest.raises(RunError, match=told):
        run(**settings)
    written = {p: p.stat().st_mtime_ns for p in (settings["out"] / "records").rglob("*.parquet")}
    assert len(written) == 2
    monkeypatch.setattr(located, "quantize", right)
    found = run(**settings)
    assert len(found.records()) == 20
    assert (
        written.items() <= {p: p.stat().st_mtime_ns for p in (settings["out"] / "records").rglob("*.parquet")}.items()
    )


@pytest.mark.parametrize("error", ERRORS)
def test_a_failed_device_is_no_lost_method(error):
    assert not losses.is_loss(error)
    assert losses.is_device_failure(error)
    assert losses.is_loss(RuntimeError("shape mismatch"))
