"""The script that makes a device's speed table runs where there is no GPU, and fills every table."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "device_table.py"


@pytest.mark.slow
def test_the_script_fills_its_tables_on_a_cpu():
    options = ["--device", "cpu", "--network", "slim_resnet", "--batch", "2", "--rounds", "1"]
    found = subprocess.run([sys.executable, str(SCRIPT), *options], capture_output=True, text=True)
    assert found.returncode == 0, found.stderr[-3000:]
    for row in ("boxes alone, engine cpu", "boxes and fidelity, 1 + 5 forwards, engine cpu", "tensor", "`aten::"):
        assert f"\n| {row}" in found.stdout
    assert "10 triples,\n  5 distinct maps" in found.stdout
