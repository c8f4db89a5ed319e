"""Programs of ``torch.compile`` for a network's forward: the same features, one for each size, said failures."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import cambench
from cambench.baselines.backbones.opening import open_backbone
from cambench.baselines.backbones.split import SplitNetwork, chain
from cambench.baselines.contracts import Backbone
from cambench.baselines.heads.heads import GapLinear
from cambench.bench.engine.scoring import clock as clocks
from cambench.bench.engine.scoring import compiled
from cambench.bench.engine.scoring.clock import StageClock
from cambench.bench.engine.scoring.compiled import NO_GRAPHS, Forward
from cambench.bench.notebook.runs import run
from cambench.results.records.load import load_run

CPU = torch.device("cpu")


@pytest.fixture
def traced(monkeypatch: Any) -> Iterator[list[int]]:
    """Programs that are traced as by the compiler and run by torch, which takes no C++ compiler; batches of each."""
    sizes: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        pictures = [t for t in inputs if isinstance(t, Tensor) and t.ndim == 4 and t.shape[-1] >= 32]
        sizes.append(len(pictures[0]))
        return graph.forward

    torch._dynamo.reset()
    monkeypatch.setattr(compiled, "BACKEND", backend)
    yield sizes
    torch._dynamo.reset()


class Broken(SplitNetwork):
    """A forward that the compiler has to leave in the middle."""

    def features(self, images: Tensor) -> Tensor:
        scale = float(images.mean())  # the value leaves the program
        return super().features(images) * (2.0 if scale > 1e9 else 1.0)


def small(kind: type[SplitNetwork] = SplitNetwork) -> Backbone:
    torch.manual_seed(0)
    body = chain([("conv", nn.Conv2d(3, 4, 8, 8)), ("act", nn.ReLU())])
    return kind("small", body, GapLinear(4, 3), "body.act").freeze()


def images(count: int, size: int = 32) -> Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(count))


@pytest.mark.parametrize("name", ["small", "broken", "slim_resnet", "timm:test_vit"])
def test_programs_compute_what_the_network_does(name: str, traced: list[int]) -> None:
    nets = {"small": small, "broken": lambda: small(Broken)}
    net = nets[name]() if name in nets else open_backbone(name, num_classes=None, pretrained=False).freeze()
    notes: Counter[str] = Counter()
    forward = Forward("kernels", CPU, notes)
    size = 32 if name in nets else 224
    with torch.no_grad():
        for count in (2, 3, 2):
            given = images(count, size)
            assert torch.equal(forward(net, given), net.features(given))
    assert not notes
    assert set(traced) == {2, 3}, "a program for each size"
    made = len(traced)
    with torch.no_grad():
        forward(net, images(3, size))
    assert len(traced) == made, "and none twice"


def test_more_programs_than_torch_keeps_by_itself(traced: list[int]) -> None:
    net, forward = small(), Forward("kernels", CPU, Counter())
    with torch.no_grad():
        for count in range(1, 13):
            forward(net, images(count))
    assert traced == list(range(1, 13))


def test_redrawn_networks_have_their_own_numbers(traced: list[int]) -> None:
    net, other, forward = small(), small(), Forward("kernels", CPU, Counter())
    with torch.no_grad():
        other.get_submodule("body.conv").weight.mul_(2)
        for each in (net, other, net):
            assert torch.equal(forward(each, images(2)), each.features(images(2)))


def test_a_compiler_that_fails_is_said_once_and_done_without(monkeypatch: Any) -> None:
    def no_compiler(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("no C++ compiler here")

    torch._dynamo.reset()
    monkeypatch.setattr(compiled, "BACKEND", no_compiler)
    net, notes = small(), Counter[str]()
    forward = Forward("kernels", CPU, notes)
    with torch.no_grad():
        for _ in range(2):
            assert torch.equal(forward(net, images(2)), net.features(images(2)))
    [(note, forwards)] = notes.items()
    assert "no C++ compiler here" in note
    assert "as without --compile" in note
    assert forwards == 2


def test_a_network_that_fails_is_not_the_compilers_fault(traced: list[int]) -> None:
    class Failing(SplitNetwork):
        def features(self, images: Tensor) -> Tensor:
            raise ValueError("of the network")

    notes = Counter[str]()
    with pytest.raises(ValueError, match="of the network"), torch.no_grad():
        Forward("kernels", CPU, notes)(small(Failing), images(2))
    assert not notes


def test_a_run_records_the_option_and_keeps_its_scores(settings: dict[str, Any], traced: list[int]) -> None:
    settings |= {"triples": ("slim_resnet/{gradcam,layercam,center}/softmax",), "limit": 6, "batch_size": 4}
    plain = run(**settings)
    found = run(**{**settings, "compile": "kernels", "out": settings["out"].with_name("compiled")})
    wanted = json.loads((found.run.out / "run.json").read_text())
    assert wanted["options"]["compile"] == "kernels"
    assert "notes" not in wanted["settings"] or not wanted["settings"]["notes"]
    assert set(traced) == {4, 2}
    # Traced programs run torch's own operators: not a bit differs.
    name = "slim_resnet/gradcam/softmax"
    for column in ("y", "o", "map", "hits_multi"):
        assert (found.run.column(name, column) == plain.run.column(name, column)).all(), column


def test_graphs_without_cuda_are_said_and_compiled_without(settings: dict[str, Any], traced: list[int]) -> None:
    settings |= {"triples": ("slim_resnet/gradcam/softmax",), "limit": 2, "compile": "graphs"}
    with pytest.warns(RuntimeWarning, match="no CUDA graphs"):
        run(**settings)
    assert traced
    found = load_run(settings["out"])
    assert found.manifest.options["compile"] == "graphs"
    assert any(NO_GRAPHS in note for note in found.notes)


def test_a_network_read_by_a_hook_runs_as_it_is(settings: dict[str, Any], traced: list[int]) -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.out = nn.Conv2d(3, 4, 16, 16), nn.Linear(4, 12)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(torch.relu(self.conv(x)).mean((2, 3)))

    cambench.wrap(name="by-a-hook", model=Own().eval(), mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2))
    settings |= {"triples": ("by-a-hook/gradcam/softmax",), "limit": 2, "compile": "kernels"}
    with pytest.warns(RuntimeWarning, match="cannot be compiled: its feature map is read by a hook"):
        run(**settings)
    assert not traced


def test_the_mode_of_graphs_and_the_memory_they_write_to(monkeypatch: Any) -> None:
    """Without a CUDA device: what is asked of torch, and that features outlive the next replay."""
    asked: list[Any] = []
    buffer = torch.zeros(2, 4, 4, 4)

    def compile_(function: Any, **given: Any) -> Any:
        asked.append(given)
        return lambda network, given: buffer.copy_(network.features(given))

    monkeypatch.setattr(torch, "compile", compile_)
    net, forward = small(), Forward("graphs", torch.device("cuda"), Counter())
    with torch.no_grad():
        first = forward(net, images(2))
        expected = net.features(images(2))
        forward(net, images(2) + 1)
    assert torch.equal(first, expected)
    assert [a["mode"] for a in asked] == ["reduce-overhead"]
    assert asked[0]["dynamic"] is False


def test_making_programs_is_no_stage(monkeypatch: Any) -> None:
    now = [0.0]

    def backend(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        now[0] += 50

        def program(*given: Any) -> Any:
            now[0] += 1
            return graph.forward(*given)

        return program

    torch._dynamo.reset()
    for module in (compiled, clocks):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(compiled, "BACKEND", backend)
    clock, forward, net = StageClock(CPU), Forward("kernels", CPU, Counter()), small()
    clock.aside = lambda: forward.making_ms
    for _ in range(2):
        with torch.no_grad(), clock.stage("forward"):
            forward(net, images(2))
        assert clock.flush().stages()["forward"] == pytest.approx(1e3)
