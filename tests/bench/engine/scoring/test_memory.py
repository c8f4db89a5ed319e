"""A run whose batch does not fit says the largest that does, and goes on with it."""

import pytest
import torch

from cambench.bench.engine.scoring.reading import Reading
from cambench.bench.host.memory import BatchMemoryError
from cambench.bench.notebook.runs import run
from cambench.results.records.load import load_run


def test_a_batch_that_does_not_fit_names_the_largest_that_does(settings, tmp_path, monkeypatch):
    whole = {**settings, "out": tmp_path / "whole"}
    run(**whole)
    asked = []
    clean = Reading.features

    def short(self, images):
        asked.append(len(images))
        if len(images) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return clean(self, images)

    monkeypatch.setattr(Reading, "features", short)
    with pytest.raises(BatchMemoryError, match=r"slim_resnet, \d maps: cpu .* 4 images .* is 2: give --batch-size 2"):
        run(**settings)
    assert asked[0] == 4, "the batch was not made smaller silently"
    again = {**settings, "batch_size": 2, "out": tmp_path / "again"}
    run(**again)
    mine, theirs = (load_run(s["out"]) for s in (again, whole))
    assert mine.index.tolist() == theirs.index.tolist()
    assert mine.triples == theirs.triples


def test_first_images_of_a_batch(blobs):
    from cambench.datasets.batches.loading import load_batches
    from cambench.datasets.open import open_table

    root, metadata = blobs
    table = open_table("wsol", root, "test", metadata=str(metadata))
    batch = next(load_batches(table, range(6), 32, 6, 0))
    part = next(load_batches(table, range(4), 32, 4, 0))
    head = batch.head(4)
    assert (len(head), head.image_ids) == (4, part.image_ids)
    assert all(torch.equal(getattr(head, n), getattr(part, n)) for n in ("index", "images", "labels"))
    assert [b.tolist() for b in head.gt_boxes] == [b.tolist() for b in part.gt_boxes]
