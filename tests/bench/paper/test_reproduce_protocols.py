"""``cambench reproduce`` under two protocols: one training, two evaluations, one report side by side."""

import numpy as np
import pandas as pd
import pytest

from cambench.bench.paper.reproduce import reproduce
from cambench.bench.paper.table_plan import make_plan
from cambench.protocol import PROTOCOLS
from cambench.results.records.load import load_run

BOTH = ("paper", "beyond-softmax-code")


def test_two_protocols_side_by_side(request_of):
    request = request_of(datasets=("cub",), protocols=BOTH)
    plan = make_plan(request)
    kinds = [s.kind for s in plan.steps]
    assert [kinds.count(k) for k in ("network", "head", "records")] == [3, 3, 2], "trained once, evaluated twice"
    reproduce(plan)
    frame = pd.read_csv(request.out / "table1.csv")
    cells = frame.set_index(["protocol", "metric", "backbone", "cam", "head"])
    for protocol in BOTH:
        run = load_run(request.out / "records" / "cub" / protocol)
        assert run.manifest.protocol == PROTOCOLS.get(protocol)
        records = run.records("slim_vgg/layercam/sigmoid")
        ours = cells.loc[(protocol, "average_drop", "vgg16", "layercam", "sigmoid"), "ours"]
        assert ours == pytest.approx(100 * (np.maximum(records.y - records.o, 0) / records.y).mean())
        if protocol == "beyond-softmax-code":
            assert (records.target == records.label).all(), "the authors' code draws the label's map"
    wide = frame.pivot(index=["metric", "backbone", "cam", "head"], columns="protocol", values=["published", "ours"])
    assert (wide["published"]["paper"] == wide["published"]["beyond-softmax-code"]).all()
    assert (wide["ours"]["paper"] != wide["ours"]["beyond-softmax-code"]).any()
    for ending in ("md", "tex"):
        text = (request.out / f"table1.{ending}").read_text(encoding="utf-8").replace("\\", "").replace("{-}", "-")
        assert all(protocol in text for protocol in BOTH)
    changes = pd.read_csv(request.out / "table1_changes.csv")
    assert len(changes) == 2 * len(BOTH) * 10
    assert set(changes.verdict) <= {"same direction", "opposite", "undecided"}
