"""``--workers auto``: decoding threads by measurement."""

import pytest

from cambench.bench.engine.planning.config import RunConfig
from cambench.bench.engine.run import with_workers
from cambench.bench.host.errors import UsageError
from cambench.bench.notebook.runs import run
from cambench.datasets.batches import decoding_rates, fewest


def test_the_fewest_threads_that_are_nearly_the_fastest():
    assert fewest({1: 100.0, 2: 190.0, 4: 196.0, 8: 150.0}) == 2
    assert fewest({1: 100.0, 2: 60.0}) == 1


def test_the_threads_are_measured_recorded_and_change_no_table(settings, capsys, monkeypatch):
    settings |= {"triples": ("slim_resnet/center/softmax",)}
    run(**settings)
    monkeypatch.setattr("cambench.bench.engine.run.decoding_rates", lambda *_: {1: 10.0, 2: 20.0, 4: 20.1})
    other = settings["out"].with_name("auto")
    found = run(**{**settings, "workers": "auto", "out": other})
    assert found.run.manifest.settings["workers"] == 2
    assert "--workers 2 (images/s by decoding threads: 1: 10, 2: 20, 4: 20)" in capsys.readouterr().err
    assert (other / "tables" / "scores.csv").read_bytes() == (settings["out"] / "tables" / "scores.csv").read_bytes()


def test_rates_are_of_the_runs_images(settings):
    config = RunConfig.create(**{**settings, "workers": "auto"})
    rates = decoding_rates(config.source.open(), 32)
    assert list(rates)[:2] == [1, 2]
    assert all(rate > 0 for rate in rates.values())
    assert with_workers(config).workers in (1, 2, 4, 8, 16)


def test_neither_a_number_nor_auto(settings):
    with pytest.raises(UsageError, match="workers 'many': expected a number or auto"):
        RunConfig.create(**{**settings, "workers": "many"})
    with pytest.raises(UsageError, match="workers"):
        RunConfig.create(**{**settings, "workers": -1})
