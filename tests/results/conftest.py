"""Small run folders with records drawn from a generator per image, so that any cut into shards gives the same rows."""

import numpy as np
import pytest

from cambench.protocol import PAPER
from cambench.results.records.described import (
    BackboneRecord,
    BranchRecord,
    CamRecord,
    DatasetRecord,
    Failure,
    HeadRecord,
)
from cambench.results.records.manifest import RunManifest
from cambench.results.records.store import RunStore

BINS = 1002


def triples_of(backbone="net"):
    return [f"{backbone}/{c}/{h}" for c in ("cam", "gradcam") for h in ("softmax", "sigmoid")] + [
        f"{backbone}/random/softmax"
    ]


def backbone_record(weights="w0", sigmoid="s0"):
    branches = {
        "softmax": BranchRecord(sha256="b0", provenance="shipped"),
        "sigmoid": BranchRecord(sha256=sigmoid, provenance="trained in this run", training={"epochs": 3}),
    }
    return BackboneRecord(title="Net", weights_sha256=weights, num_classes=4, branches=branches)


def make_manifest(backbone="net", rows=11, shard_size=4, **changes):
    data = {
        "code_version": "0.1.0",
        "protocol": PAPER,
        "dataset": DatasetRecord(
            name="toy",
            split="test",
            fingerprint="f" * 16,
            rows=rows,
            num_classes=4,
            has_boxes=True,
            has_masks=True,
            has_evidence=True,
        ),
        "shard_size": shard_size,
        "options": {"dtype": "float32"},
        "triples": triples_of(backbone),
        "aliases": {f"{backbone}/gradcam/softmax": f"{backbone}/cam/softmax"},
        "identities": {f"{backbone}/gradcam/softmax": "Grad-CAM equals CAM on a GAP + linear head"},
        "backbones": {backbone: backbone_record()},
        "cams": {
            "cam": CamRecord(title="CAM"),
            "gradcam": CamRecord(title="Grad-CAM"),
            "random": CamRecord(title="Random", control=True),
        },
        "heads": {
            "softmax": HeadRecord(title="softmax"),
            "sigmoid": HeadRecord(title="sigmoid", branch="sigmoid", clamp=True),
        },
        "versions": {"python": "3.11", "torch": "2.4"},
        "devices": ["cpu"],
    }
    return RunManifest(**{**data, **changes})


def image_row(triple, index, thresholds=3):
    rng = np.random.default_rng([index, *triple.encode()])
    y = rng.uniform(0.2, 0.9)
    first_miss = rng.integers(1, 255, thresholds)
    hits = np.arange(256)[None] < np.sort(first_miss)[::-1][:, None]
    bits = np.packbits(hits, axis=-1)
    histogram = rng.integers(0, 30, (2, BINS))
    return {
        "image_id": f"img/{index:03d}.jpg",
        "index": index,
        "label": index % 4,
        "predicted": index % 4 if index % 3 else 0,
        "target": index % 4 if index % 3 else 0,
        "degenerate": 0,
        "peak": 255,
        "hits_multi": bits,
        "hits_single": bits,
        "hits_single_first": bits,
        "pixel_histogram": histogram,
        "y": y,
        "o": rng.uniform(0.05, 0.95),
        "evidence_precision": rng.uniform(),
        "extra:sparsity": rng.uniform(),
    }


def make_rows(triple, indices, **changes):
    rows = [image_row(triple, i) for i in indices]
    columns = {name: np.array([r[name] for r in rows]) for name in rows[0]}
    columns["image_id"] = columns["image_id"].astype(object)
    return {**columns, **changes}


def canonical_triples(manifest):
    return [t for t in manifest.triples if manifest.canonical(t) == t]


def write_one(store, backbone, shard, failed=(), triples=None):
    span = store.manifest.rows_of(shard)
    kept = [i for i in span if i not in failed]
    wanted = [t for t in triples or canonical_triples(store.manifest) if t.startswith(f"{backbone}/")]
    rows = {t: make_rows(t, kept) for t in wanted} if kept else {}
    lost = [i for i in failed if i in span]
    failures = [Failure(image_id=f"img/{i:03d}.jpg", index=i, reason="truncated JPEG") for i in lost]
    store.write_shard(backbone, shard, rows, failures, {"forward": 0.2})


def fill(out, manifest, failed=()):
    """A whole run of the manifest's triples."""
    with RunStore.open(out, manifest) as store:
        for backbone in manifest.backbones:
            wanted = [t for t in canonical_triples(manifest) if t.startswith(f"{backbone}/")]
            for shard in range(store.manifest.shards):
                if not store.shard_done(backbone, shard, wanted):
                    write_one(store, backbone, shard, failed, wanted)
        store.finish(durations_s={"total": 1.0})
    return out


class Toy:
    """The helpers above, for tests that import no conftest."""

    manifest = staticmethod(make_manifest)
    backbone = staticmethod(backbone_record)
    rows = staticmethod(make_rows)
    row = staticmethod(image_row)
    write = staticmethod(write_one)
    fill = staticmethod(fill)
    canonical = staticmethod(canonical_triples)
    bins = BINS


@pytest.fixture(scope="session")
def toy():
    return Toy
