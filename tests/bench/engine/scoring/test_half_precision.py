"""float16 that overflows: the step is computed in float32, and the run says so; re-scoring takes the same forward."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

import cambench
from cambench.baselines.backbones.split import SplitNetwork, chain
from cambench.baselines.heads.heads import GapLinear
from cambench.bench.engine.scoring.clock import StageClock
from cambench.bench.engine.scoring.onepass import OnePass
from cambench.bench.engine.scoring.reading import Reading
from cambench.bench.engine.scoring.scope import Scoring
from cambench.bench.host.dtypes import Dtype, computes
from cambench.bench.notebook.runs import run
from cambench.datasets.schema import Batch
from cambench.protocol import PAPER
from cambench.results.records.load import load_run
from cambench.results.records.store import RunStore
from cambench.results.report.page import write_report
from cambench.results.tables.terminal import closing_table
from cambench.triple import Triple

CPU = torch.device("cpu")
NOTE = "float16 overflows in the network: the batches concerned were computed in float32"


class Watched(SplitNetwork):
    """Notes the layout and the precision of every forward."""

    def features(self, images: Tensor) -> Tensor:
        made = super().features(images)
        self.seen.append((images.is_contiguous(memory_format=torch.channels_last), made.dtype))
        return made


def engine(scale: float, cam: str, dtype: Dtype) -> tuple[OnePass, Watched]:
    torch.manual_seed(0)
    body = chain([("conv", nn.Conv2d(3, 4, 8, 8)), ("act", nn.ReLU())])
    with torch.no_grad():
        body.conv.weight.mul_(scale)
    net = Watched("watched", body, GapLinear(4, 3), "body.act")
    net.seen = []
    net.freeze()
    protocol = PAPER.model_copy(update={"size": 32})
    reading = Reading(net, protocol, dtype=dtype, channels_last=True)
    scoring = Scoring(iou_thresholds=(0.5,), has_boxes=False, map_bytes=float("inf"))
    made = OnePass(reading, [Triple("watched", cam, "softmax")], scoring, StageClock(CPU))
    return made, net


def batch() -> Batch:
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    return Batch(
        image_ids=("a", "b"), index=torch.arange(2), images=pixels, labels=torch.zeros(2, dtype=torch.int64),
        gt_boxes=[], masks=None, evidence=None, failures=(),
    )  # fmt: skip


def test_an_overflow_is_computed_in_float32_and_said() -> None:
    wide, net = engine(1e6, "gradcam", "float16")
    found = {name: values for (_, name), values in wide.begin(batch()).columns.wait().items()}
    assert net.seen[:2] == [(True, torch.float16), (True, torch.float32)]
    assert found["map"].isfinite().all()
    assert found["degenerate"].tolist() == [0, 0]
    assert [("float32" in note, count) for note, count in wide.reading.notes.items()] == [(True, 2)]
    narrow, _ = engine(1, "gradcam", "float16")
    narrow.begin(batch())
    assert not narrow.reading.notes


def test_a_device_without_bfloat16_computes_in_float32_and_says_so(monkeypatch: Any) -> None:
    cuda = torch.device("cuda")
    for capability, expected in [((7, 5), False), ((8, 0), True), ((12, 0), True)]:
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, found=capability: found)
        assert computes(cuda, "bfloat16") is expected
        assert computes(cuda, "float16")
    monkeypatch.setattr("cambench.bench.engine.scoring.reading.computes", lambda device, dtype: False)
    made, net = engine(1, "gradcam", "bfloat16")
    made.begin(batch())
    assert set(net.seen) == {(True, torch.float32)}
    # The image, and the masked image of the fidelity scores.
    assert dict(made.reading.notes) == {"the device has no bfloat16: its batches were computed in float32": 2}


def test_rescoring_takes_the_main_forward() -> None:
    made, net = engine(1, "scorecam", "bfloat16")
    made.begin(batch())
    # The image, the masked images of four channels in chunks, the masked image of the fidelity scores.
    assert len(net.seen) >= 3
    assert set(net.seen) == {(True, torch.bfloat16)}


def test_a_runs_note_of_an_overflow_outlives_an_interruption(settings: dict[str, Any], monkeypatch: Any) -> None:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 4, 16, 16), nn.ReLU())
    with torch.no_grad():
        body[0].weight.mul_(1e6)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 12))
    cambench.wrap(name="overflowing", features=body, head=head, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    fields = {**settings, "triples": ("overflowing/{gradcam,center}/softmax",), "dtype": "float16"}
    cut = {**fields, "out": settings["out"].with_name("cut")}
    with pytest.warns(RuntimeWarning, match="float16 overflows"):
        run(**fields)

    write = RunStore.write_shard

    def interrupted(store: RunStore, backbone: str, shard: int, *more: Any) -> None:
        write(store, backbone, shard, *more)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(RunStore, "write_shard", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(**cut)
    assert sum("float16 overflows" in note for note in load_run(cut["out"]).notes) == 1, "said before the end, too"
    with pytest.warns(RuntimeWarning, match="float16 overflows"):
        run(**cut)
    run(**cut)  # nothing is left to do: the note stays
    notes = [json.loads((f["out"] / "run.json").read_text())["settings"]["notes"] for f in (fields, cut)]
    assert notes[0] == notes[1]
    # Three batches: one forward of the images, one of the two masked images each.
    [(note, forwards)] = notes[0].items()
    assert note == f"overflowing: {NOTE}"
    assert int(forwards.split()[0]) >= 3
    for name in ("scores.md", "leaderboard.tex", "leaderboard.md"):
        assert "float16 overflows in the network" in (cut["out"] / "tables" / name).read_text()
    assert (cut["out"] / "tables" / "scores.md").read_bytes() == (fields["out"] / "tables" / "scores.md").read_bytes()
    said = io.StringIO()
    closing_table(load_run(cut["out"]), Console(file=said, width=200))
    assert f"note: overflowing: {NOTE}" in said.getvalue()
    assert "float16 overflows in the network" in write_report(cut["out"], cut["out"] / "r.html").read_text()
