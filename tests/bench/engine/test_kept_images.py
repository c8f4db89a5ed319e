"""A run with --cache-images: the same records, and images of an earlier run taken from where they are kept."""

from cambench.bench.notebook.runs import run


def records(out):
    return {p.relative_to(out): p.read_bytes() for p in sorted((out / "records").rglob("*.parquet"))}


def test_runs_with_and_without_kept_images_write_the_same_records(settings, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("CAMBENCH_CACHE", str(tmp_path / "cache"))
    settings["triples"] = ("slim_resnet/{gradcam,center}/softmax",)
    outs = [tmp_path / name for name in ("without", "first", "second")]
    said = []
    for out, mib in zip(outs, (0, 64, 64), strict=True):
        found = run(**{**settings, "out": out, "cache_images": mib})
        assert found.run.manifest.settings["cache_images"] == mib
        said.append("".join(capfd.readouterr()).replace("\n", " "))
    plain, first, second = map(records, outs)
    assert plain
    assert plain == first == second
    assert "decoded images" not in said[0]
    assert "0 of 10 were taken from" in said[1]
    assert "10 of 10 were taken from" in said[2]
