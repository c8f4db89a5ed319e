"""The simulated accelerator is a plain module in this folder; the metric tests' batches are one in theirs."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "metrics")]
