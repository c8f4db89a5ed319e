"""``cambench reproduce`` on miniature data in the original layouts, slim networks in place of the paper's."""

import numpy as np
import pandas as pd
import pytest
import torch
import typer
from typer.testing import CliRunner

from cambench.baselines.backbones.opening import head_digest, open_backbone
from cambench.baselines.contracts import BACKBONES
from cambench.baselines.weights.weight_files import WeightsError
from cambench.bench.cli.paper import reproduce as command
from cambench.bench.host.errors import UsageError
from cambench.bench.paper import reproduce as doing
from cambench.bench.paper.reproduce import describe, reproduce
from cambench.bench.paper.table_plan import make_plan
from cambench.bench.training import into_file
from cambench.bench.training.checkpoint import save_network
from cambench.datasets.schema import DatasetError
from cambench.registry import UnknownNameError
from cambench.results.paper.published import published_table
from cambench.results.records.load import load_run


def test_dry_plan_names_every_missing_piece_and_writes_nothing(request_of):
    plan = make_plan(request_of())
    kinds = [(s.dataset, s.kind) for s in plan.steps]
    for dataset in ("cub", "stanford_cars"):
        assert kinds.count((dataset, "network")) == kinds.count((dataset, "head")) == 3
        assert kinds.count((dataset, "records")) == 1
        assert len(plan.triples[dataset]) == 20
    assert not any(s.done for s in plan.steps)
    assert plan.seconds > 0
    assert not plan.request.out.exists()


def test_whole_table_interrupted_and_continued(request_of, monkeypatch):
    request = request_of()
    trained = []

    def interrupted(network, *rest, **options):
        if len(trained) == 1:
            raise KeyboardInterrupt
        trained.append(network.name)
        return train_head(network, *rest, **options)

    train_head = doing.train_head
    monkeypatch.setattr(doing, "train_head", interrupted)
    with pytest.raises(KeyboardInterrupt):
        reproduce(make_plan(request))
    monkeypatch.setattr(doing, "train_head", train_head)

    kept = {f: f.read_bytes() for f in request.out.rglob("*.safetensors")}
    assert kept
    plan = make_plan(request)
    assert sum(s.done for s in plan.steps) == len(kept)
    paths = reproduce(plan)
    assert all(f.read_bytes() == content for f, content in kept.items())

    frame = pd.read_csv(request.out / "table1.csv")
    assert len(frame) == len(published_table("table1"))
    assert frame["ours"].notna().all()
    np.testing.assert_allclose(frame["difference"], frame["ours"] - frame["published"], atol=1e-9)
    row = frame[(frame.dataset == "cub") & (frame.cam == "gradcam") & (frame["head"] == "sigmoid")]
    row = row[(row.backbone == "resnet50") & (row.metric == "increase_in_confidence")].iloc[0]
    records = load_run(request.out / "records/cub/paper").records("slim_resnet/gradcam/sigmoid")
    assert row.ours == pytest.approx(100 * (records["o"] > records["y"]).mean())
    assert row.published == 13.22
    report = (request.out / "table1.md").read_text().replace("\\", "")
    for text in ("6,033/5,755", "+12.13", "slim_vgg for vgg16", "first 4 images"):
        assert text in report

    before = [p.read_bytes() for p in paths]
    again = make_plan(request)
    assert all(s.done and s.seconds == 0 for s in again.steps)
    monkeypatch.setattr(doing, "train_head", None)
    monkeypatch.setattr(into_file, "train_backbone", None)
    assert [p.read_bytes() for p in reproduce(again)] == before


def test_files_of_another_seed_are_refused(request_of):
    request = request_of(datasets=("cub",), limit=4)
    plan = make_plan(request)
    doing._network(plan, plan.steps[0], print)
    with pytest.raises(UsageError, match=r"another seed \(0, now 1\)"):
        reproduce(make_plan(request_of(datasets=("cub",), seed=1)))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"table": "table3"}, UsageError, "table1, table2 or wsol"),
        ({"datasets": ("imagenet",)}, UsageError, "table1 has no data set"),
        ({"protocols": ("papr",)}, UnknownNameError, "paper"),
        ({"substitutes": {"vgg19": "slim_vgg"}}, UsageError, "vgg19"),
        ({"substitutes": {"vgg16": "slim_resnet", "vgg16_gap": "slim_resnet"}}, UsageError, "same one"),
        ({"data_root": None}, DatasetError, "--data-root"),
    ],
)
def test_wrong_requests(request_of, change, error, message):
    with pytest.raises(error, match=message):
        make_plan(request_of(**change))


def test_missing_data_set_says_where_it_was_looked_for(request_of, tmp_path):
    with pytest.raises(DatasetError, match="CUB_200_2011"):
        make_plan(request_of(data_root=tmp_path))
    with pytest.raises(DatasetError, match="--data-root .*absent: no such folder"):
        make_plan(request_of(data_root=tmp_path / "absent"))


def test_command_line_shows_the_plan_and_stops(request_of, tmp_path):
    app = typer.Typer()
    app.command()(command)
    line = ["table1", "--data-root", str(tmp_path / "data"), "--out", str(tmp_path / "o"), "--dataset", "cub"]
    line += [f"--substitute={a}={b}" for a, b in request_of().substitutes.items()]
    result = CliRunner().invoke(app, [*line, "--dry-run", "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert "cub: train network slim_vgg_gap, about" in result.output
    assert "(200 image passes)" in result.output, "4 training images, 50 epochs"
    assert "20 triples, paper" in result.output
    assert not (tmp_path / "o").exists()


def test_a_branch_that_was_trained_before_is_taken(request_of, tmp_path, monkeypatch):
    first = request_of(datasets=("cub",))
    reproduce(make_plan(first))
    second = first.model_copy(update={"out": tmp_path / "again"})
    networks = second.out / "networks" / "cub"
    networks.mkdir(parents=True)
    for file in (first.out / "networks" / "cub").iterdir():
        (networks / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(doing, "train_head", lambda *_, **__: pytest.fail("it was trained before"))
    said = []
    reproduce(make_plan(second), said.append)
    assert len([line for line in said if "trained in an earlier run" in line]) == 3
    assert (second.out / "table1.csv").read_bytes() == (first.out / "table1.csv").read_bytes()
    assert not [s for s in make_plan(second).steps if not s.done]


def test_a_plan_needs_no_data(request_of, tmp_path):
    app = typer.Typer()
    app.command()(command)
    line = ["table1", "--out", str(tmp_path / "o"), "--data-root", str(tmp_path / "nowhere"), "--device", "cpu"]
    line += [f"--substitute={a}={b}" for a, b in request_of().substitutes.items()]
    result = CliRunner().invoke(app, [*line, "--dry-run"])
    assert result.exit_code == 0, result.output
    said = [line for line in result.output.splitlines() if "missing:" in line]
    assert [line.split()[1] for line in said] == ["cub:", "stanford_cars:"]
    assert all("nowhere: no such folder; planned from its published counts" in line for line in said)
    assert "(5,794 images)" in result.output, "CUB's test split"
    plan = make_plan(request_of(data_root=None, limit=None), without_data=True)
    assert {s.images for s in plan.steps if s.kind == "records"} == {5794, 8041}
    with pytest.raises(DatasetError, match="cub: give --data-root"):
        reproduce(plan)
    assert isinstance(CliRunner().invoke(app, line).exception, DatasetError)
    assert not (tmp_path / "o").exists()


def test_everything_that_is_missing_or_odd_is_told_before_anything_is_trained(request_of, tiny_data, tmp_path):
    whole = make_plan(request_of(limit=None))
    assert whole.notes[0] == "cub train: 4 images, published are 5,994: not the paper's data set"
    assert len(whole.notes) == 4
    assert not make_plan(request_of()).notes
    for key in ("resnet50", "cub/resnet", "imagenet/resnet50"):
        with pytest.raises(UsageError, match=f"--weights {key}=.*: expected DATASET/NETWORK=FILE"):
            make_plan(request_of(weights={key: tmp_path / "net.yaml"}))
    (tmp_path / "w.pth").write_text("root:x:0:0")
    with pytest.raises(WeightsError, match=r"w\.pth: holds no weights, but text"):
        make_plan(request_of(weights={"cub/slim_resnet": tmp_path / "w.pth"}))
    save_network(tmp_path / "w.safetensors", open_backbone("slim_resnet", num_classes=3), {})
    with pytest.raises(UsageError, match=r"w\.safetensors: 3 classes, cub has 200"):
        make_plan(request_of(weights={"cub/resnet50": tmp_path / "w.safetensors"}))
    with pytest.raises(UsageError, match="--root cup=…: table1 has cub, stanford_cars"):
        make_plan(request_of(roots={"cup": tmp_path}))
    for name in ("CUB_200_2011", "stanford_cars"):
        (tiny_data / name).rename(tiny_data / f"other_{name}")
    with pytest.raises(DatasetError, match=r"(?s)cub: none of .* is below .*stanford_cars: none of"):
        make_plan(request_of())


def test_a_plan_refuses_networks_of_other_data(request_of, tmp_path):
    request = request_of(datasets=("cub",))
    file = request.out / "networks" / "cub" / "slim_vgg_gap.safetensors"
    file.parent.mkdir(parents=True)
    save_network(file, open_backbone("slim_vgg_gap", num_classes=200), {"data_fingerprint": "x"})
    with pytest.raises(UsageError, match=r"vgg_gap\.safetensors was trained with another data_fingerprint \(x, now"):
        make_plan(request)


def test_a_published_checkpoint_brings_its_sigmoid_branch(request_of, tmp_path):
    net = open_backbone("slim_resnet", num_classes=2)
    branch = net.head("softmax").fresh(torch.Generator().manual_seed(7))
    tensors = {**net.state_dict(), **{f"heads.sigmoid.{k}": v for k, v in branch.state_dict().items()}}
    torch.save({"state_dict": tensors}, tmp_path / "w.pth")
    request = request_of(datasets=("stanford_cars",), weights={"stanford_cars/resnet50": tmp_path / "w.pth"})
    plan = make_plan(request)
    here = {s.kind: s for s in plan.steps if s.what == "slim_resnet"}
    assert here["head"].done
    assert here["head"].seconds == 0
    assert (
        describe(here["head"])
        == f"stanford_cars: take sigmoid branch of slim_resnet from {tmp_path / 'w.pth'} (--weights)"
    )
    assert describe(here["network"]) == f"stanford_cars: take slim_resnet from {tmp_path / 'w.pth'} (--weights)"
    assert [s.given for s in plan.steps if s.kind == "head"] == [
        s.what == "slim_resnet" for s in plan.steps if s.kind == "head"
    ]
    reproduce(plan)
    assert not (request.out / "heads/stanford_cars/slim_resnet.sigmoid.safetensors").exists()
    record = load_run(request.out / "records/stanford_cars/paper").manifest.backbones["slim_resnet"]
    assert record.branches["sigmoid"].sha256 == head_digest(branch)
    assert record.branches["sigmoid"].provenance == record.weights_source == "file w.pth"
    assert record.branches["sigmoid"].training is None
    said = "stanford_cars, slim_resnet: the network and its sigmoid branch were taken from w.pth (--weights)"
    assert said in (request.out / "table1.md").read_text().replace("\\", "")


def test_second_heads_of_the_authors_code_are_planned_as_given(request_of, tmp_path):
    """``fc2`` beside torchvision's own names; with ``fc`` alone the branch is trained."""
    with torch.device("meta"):
        own = BACKBONES.get("resnet50").build(2).state_dict()
    names = {k: k.removeprefix("body.").replace("heads.softmax.linear.", "fc.") for k in own}
    state = {names[k]: torch.zeros(t.shape, dtype=t.dtype) for k, t in own.items()}
    substitutes = {k: v for k, v in request_of().substitutes.items() if k != "resnet50"}
    fields = {"datasets": ("stanford_cars",), "substitutes": substitutes}
    for second in (True, False):
        more = {k.replace("fc.", "fc2."): v for k, v in state.items() if k.startswith("fc.")} if second else {}
        torch.save({f"module.{k}": v for k, v in {**state, **more}.items()}, tmp_path / "w.pth")
        plan = make_plan(request_of(weights={"stanford_cars/resnet50": tmp_path / "w.pth"}, **fields))
        step = next(s for s in plan.steps if (s.kind, s.what) == ("head", "resnet50"))
        assert (step.given, step.done, step.seconds == 0) == (second, second, second)
        assert plan.head_of("stanford_cars", "resnet50") == (None if second else step.target)
