"""A run whose batch does not fit says the largest that does, and goes on with it."""

import pytest
import torch

from cambench.baselines.cams import CHUNK_BYTES
from cambench.bench.engine.planning.config import RunConfig
from cambench.bench.engine.scoring.chunks import does_not_fit
from cambench.bench.engine.scoring.reading import Reading
from cambench.bench.engine.scoring.without_network import BareReading
from cambench.bench.host.memory import BatchMemoryError
from cambench.bench.notebook.runs import run
from cambench.datasets.schema import Batch
from cambench.protocol import PAPER
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


RESCORED = {"triples": ("slim_resnet/{scorecam,cam}/softmax",), "channels": 4}
FILLED = {"triples": ("slim_resnet/{cam,gradcam++,layercam,center}/softmax",), "fill_chunks": True}


@pytest.mark.parametrize("asked_for", [RESCORED, FILLED], ids=["scorecam", "filled"])
@pytest.mark.parametrize(
    ("most", "told", "options"),
    [
        (10, r"--chunk-mib 4, and another --out", {"chunk_mib": 4}),
        (3, r"--batch-size 3 --chunk-mib 1, and another", {"batch_size": 3, "chunk_mib": 1}),
    ],
)
def test_chunks_of_masked_images_that_do_not_fit(settings, tmp_path, monkeypatch, most, told, options, asked_for):
    """Four channels, or maps, of four images of 224 pixels (0.57 MiB each) are one chunk of 16 within 32 MiB.

    Where ten images fit, eight are two copies of the batch, in 4 MiB; three are one copy.
    """
    fields = {**settings, **asked_for, "limit": 4}
    whole = run(**{**fields, "out": tmp_path / "whole"}).run
    asked = []
    clean = Reading.features

    def short(self, images):
        asked.append(len(images))
        if len(images) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        return clean(self, images)

    monkeypatch.setattr(Reading, "features", short)
    with pytest.raises(BatchMemoryError, match=rf"4 images at a time; the largest that fits is \d: give {told}"):
        run(**fields)
    asked.clear()
    again = run(**{**fields, **options, "out": tmp_path / "again"}).run
    assert max(asked) <= most
    assert again.manifest.options["chunk_mib"] == options["chunk_mib"]
    for triple in whole.triples:
        assert torch.allclose(*(torch.tensor(r.column(triple, "map")) for r in (again, whole)), rtol=1e-3, atol=1e-3)


def test_maps_without_a_network_that_do_not_fit():
    made = Batch(
        image_ids=("a", "b"), index=torch.arange(2), images=torch.zeros(2, 3, 8, 8, dtype=torch.uint8),
        labels=torch.zeros(2, dtype=torch.int64), gt_boxes=[], masks=None, evidence=None, failures=(),
    )  # fmt: skip

    def begin(batch):
        if len(batch) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")

    error = does_not_fit(begin, BareReading(PAPER, torch.device("cpu"), lambda *_: None), made, "2 maps")
    assert error.fits == 1
    assert "give --batch-size 1, and another --out" in str(error)


def test_the_option_is_what_methods_take_by_themselves(settings):
    assert RunConfig(**settings).chunk_mib * 2**20 == CHUNK_BYTES


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
