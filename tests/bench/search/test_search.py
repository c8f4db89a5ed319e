"""Searches of rate and parameters: what is drawn, who does which trial, what is chosen, what is said of failures."""

import json
from collections import Counter

import pytest
import typer
from typer.testing import CliRunner

from cambench.baselines.wsol import WSOL
from cambench.bench.cli.search import search as command
from cambench.bench.host.errors import RunError, UsageError
from cambench.bench.search import trial as trying
from cambench.bench.search.search import chosen, make_search, search
from cambench.bench.search.search_request import SearchRequest
from cambench.bench.search.space import drawn, space_of
from cambench.bench.search.trial import TrialRecord, proxy_of
from cambench.bench.training.recipes.recipe import BackboneRecipe
from cambench.bench.training.recipes.recipe_files import load_recipe
from cambench.datasets.open import DataSource
from cambench.results.records.locks import FolderLock

pytest.importorskip("optuna")
RECIPE = """name: tiny
source: a test
init: random
epochs: 1
batch_size: 6
size: 64
optimiser: {name: sgd, lr: 0.01, weight_decay: 0.0}
schedule: {kind: step}
augment: null
"""


@pytest.fixture
def request_of(tmp_path, monkeypatch):
    """The maker of requests: two trials of ADL on half a dozen birds; fields to change."""
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    monkeypatch.setattr("cambench.bench.search.search.measure", lambda *_: Cost())

    def make(**fields):
        given = {
            "dataset": "synthbirds",
            "options": {"count": 6, "size": 64},
            "backbone": "slim_vgg_gap",
            "recipe": str(tmp_path / "tiny.yaml"),
            "method": "adl",
            "trials": 2,
            "lr": (1e-3, 1e-2),
            "out": tmp_path / "out",
            "device": "cpu",
            "workers": 1,
        }
        return SearchRequest(**{**given, **fields})

    return make


class Cost:
    seconds = 0.001


def results(out):
    """Everything in the records but the time."""
    found = [json.loads(file.read_text()) for file in sorted(out.rglob("trial.json"))]
    return [{key: value for key, value in one.items() if key != "seconds"} for one in found]


@pytest.mark.slow
def test_interrupted_shared_and_lengthened_it_is_the_same_search(request_of, tmp_path, monkeypatch):
    whole = search(make_search(request_of()))
    assert [path.name for path in whole] == ["search.md", "search.csv", "found.yaml"]
    records = results(tmp_path / "out")
    assert [one["state"] for one in records] == ["complete"] * 2
    assert len({one["loss"] for one in records}) == 2

    def killed(_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(trying, "run", killed)
        request = request_of(out=tmp_path / "again", trials=1)
        with pytest.raises(KeyboardInterrupt):
            search(make_search(request))
    assert not results(request.out)
    assert (request.out / "trials/0000/network.safetensors").is_file(), "trained, not yet judged"
    said = []
    plan = make_search(request_of(out=tmp_path / "again"))
    lock = FolderLock(plan.job.folder(0))
    assert [path.name for path in search(plan, said.append)] == ["search.md", "search.csv"]
    lock.release()
    assert any("other processes are at work on trials 0;" in line for line in said)
    assert [one["number"] for one in results(request.out)] == [1]
    search(plan)
    assert results(request.out) == records

    best = max(records, key=lambda one: one["score"])
    recipe = load_recipe(BackboneRecipe, str(tmp_path / "again" / "found.yaml"))
    assert recipe.optimiser.lr == best["parameters"]["lr"]
    assert recipe.method == {"name": "adl", **{k: v for k, v in best["parameters"].items() if k != "lr"}}
    assert f"trial {best['number']} of 2" in recipe.source
    table = (request.out / "search.md").read_text().replace("\\", "")
    assert "slim_vgg_gap+adl on 6 images" in table
    assert f"**{best['score']:.2f}**" in table


@pytest.mark.parametrize(
    ("epochs", "why"), [(2, "not finite at step"), (1, "nothing could be computed.*not a finite number")]
)
def test_a_search_whose_every_trial_fails_says_why(request_of, tmp_path, epochs, why):
    """In training, and where the last step leaves parameters whose scores are no numbers."""
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(recipe.read_text().replace("epochs: 1", f"epochs: {epochs}"))
    with pytest.raises(RunError, match=rf"(?s)all 2 trials failed.*trial.* 0.*{why}.*Narrow what is drawn"):
        search(make_search(request_of(trials=2, lr=(1e30, 1e35))))
    assert [one["state"] for one in results(tmp_path / "out")] == ["failed"] * 2
    assert not (tmp_path / "out" / "found.yaml").exists()
    with pytest.raises(UsageError, match="holds a search with another space"):
        make_search(request_of(lr=(1e-3, 1e-2)))


def test_values_lie_in_their_ranges_and_depend_on_the_number_alone():
    for name in WSOL.names():
        space = space_of(WSOL.get(name), (1e-5, 1.0), {})
        rows = [drawn(space, 3, number, {}) for number in range(40)]
        assert rows[::-1] == [drawn(space, 3, number, {}) for number in reversed(range(40))]
        assert len({row["lr"] for row in rows}) == 40
        assert sum(row["lr"] < 10**-2.5 for row in rows) in range(10, 31), "evenly in the logarithm"
        for row in rows:
            for parameter, (low, high) in space.items():
                assert low <= row[parameter] <= row.get(high, high)
                assert isinstance(row[parameter], type(low))
    assert "drop_rate" not in space_of(WSOL.get("has"), (1e-5, 1.0), {"drop_rate": 0.5})
    assert drawn({"low_1": (0.0, "high_1")}, 0, 0, {"high_1": 0.25})["low_1"] <= 0.25


def test_the_proxy_set_has_its_share_of_each_class():
    table = DataSource("synthbirds", None, "train", {"count": 60, "size": 32}).open()
    half = proxy_of(table, 0.3, 0)
    counts, kept = Counter(table.rows["label"][:]), Counter(half.rows["label"][:])
    assert kept == {label: -(-3 * count // 10) for label, count in counts.items()}
    assert half.rows["image_id"][:] != proxy_of(table, 0.3, 1).rows["image_id"][:]
    assert half.fingerprint not in (table.fingerprint, proxy_of(table, 0.3, 1).fingerprint)
    assert proxy_of(table, 1, 0) is table


def test_the_first_of_the_best_is_chosen():
    def record(number, score):
        state = "failed" if score is None else "complete"
        return TrialRecord(number=number, parameters={}, state=state, score=score)

    records = [record(0, None), record(1, 50.0), record(2, 60.0), record(3, 60.0)]
    assert chosen(records, True).number == 2
    assert chosen(records, False).number == 1
    assert chosen(records[:1], True) is None


def test_wrong_requests_are_answered_before_anything_is_trained(request_of, tmp_path, monkeypatch):
    monkeypatch.undo()
    with pytest.raises(UsageError, match="acol cannot change slim_vgg: .* such as vgg16_gap, resnet50"):
        make_search(request_of(backbone="slim_vgg", method="acol"))
    for fields, said in (({"lr": "2"}, "expected LOW,HIGH"), ({"lr": (1, 0.1)}, "lower"), ({"split": "train"}, "val")):
        with pytest.raises(ValueError, match=said):
            request_of(**fields)
    monkeypatch.setattr("cambench.bench.search.search.measure", lambda *_: Cost())
    app = typer.Typer()
    app.command()(command)
    words = (
        f"--backbone slim_vgg_gap --dataset synthbirds --recipe {tmp_path / 'tiny.yaml'} --method cutmix,beta=0.5 "
        f"--option count=12 --option size=64 --trials 2 --lr 1e-4,1e-2 --out {tmp_path / 'new'} --dry-run"
    )
    shown = CliRunner().invoke(app, words.split())
    assert shown.exit_code == 0, shown.output
    assert "fixed: beta 0.5" in shown.output
    assert "trial 1: lr 0.00" in shown.output
    assert not (tmp_path / "new").exists()
