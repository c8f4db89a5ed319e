"""A whole run of every network that a WSOL method or TAP makes: both branches, the methods' own maps, all scores."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import cambench
from cambench.baselines.contracts import BACKBONES
from cambench.baselines.wsol import WSOL

pytestmark = pytest.mark.slow
RECIPE = """name: tiny
source: a test
epochs: 1
batch_size: 4
size: 64
optimiser: {name: sgd, lr: 0.01, weight_decay: 0.0}
schedule: {kind: step}
augment: null
"""
BASE = "slim_vgg_gap"
PLAIN = ("has", "adl", "cutmix")
"""Methods that add no layer."""
OWN = {"acol": "acolmap", "spg": "spgmap"}
TAPPED = ("tap", "tap+has", "tap+adl", "tap+cutmix")


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """One run over four birds; networks that are equal by algebra have equal random parameters."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "head.yaml").write_text(RECIPE)
    torch.manual_seed(0)
    plain = BACKBONES.get(BASE).build(12).state_dict()
    weights, triples = {}, [f"{BASE}/cam/softmax"]
    for suffix in ("", *PLAIN, *OWN, *TAPPED):
        name = f"{BASE}+{suffix}" if suffix else BASE
        torch.manual_seed(1)
        net = BACKBONES.get(name).build(12)
        own = net.state_dict()
        net.load_state_dict({k: plain[k] if k in plain and plain[k].shape == v.shape else v for k, v in own.items()})
        method = suffix.rpartition("+")[2] if suffix not in ("", "tap") else "cam"
        pooling = {"pooling": {"kind": "tap", "threshold": 0.1}} if "tap" in suffix else {}
        facts = {"recipe": pooling, "method": method, "method_parameters": WSOL.get(method)().parameters_given}
        weights[name] = folder / f"{suffix or 'plain'}.safetensors"
        save_file(
            {k: v.contiguous() for k, v in net.state_dict().items()}, weights[name], {"record": json.dumps(facts)}
        )
        triples += [f"{name}/cam/{head}" for head in ("softmax", "sigmoid")]
        triples += [f"{name}/{OWN[method]}/softmax"] if method in OWN else []
    return cambench.run(
        dataset="synthbirds",
        options={"count": 4, "size": 64},
        triples=tuple(dict.fromkeys(triples)),
        protocol="wsoleval",
        weights=weights,
        head_recipe=str(folder / "head.yaml"),
        device="cpu",
        workers=1,
        out=folder / "run",
    )


def test_every_triple_has_records_of_every_image(result):
    assert len(result.run.triples) == 2 * 10 + 2
    for triple in result.run.triples:
        records = result.run.records(triple)
        assert len(records) == 4
        assert np.isfinite(records[["y", "o"]]).all(axis=None), triple


@pytest.mark.parametrize("method", PLAIN)
def test_a_network_without_new_layers_is_scored_as_the_plain_one(result, method):
    for base in (BASE, f"{BASE}+tap"):
        for head in ("softmax", "sigmoid"):
            ours, plain = (result.run.records(f"{name}/cam/{head}") for name in (f"{base}+{method}", base))
            np.testing.assert_array_equal(ours[["y", "o"]], plain[["y", "o"]])


@pytest.mark.parametrize("method", OWN)
def test_own_maps_are_scored_beside_cam_on_the_same_prediction(result, method):
    own = result.run.records(f"{BASE}+{method}/{OWN[method]}/softmax")
    cam = result.run.records(f"{BASE}+{method}/cam/softmax")
    np.testing.assert_array_equal(own["y"], cam["y"])
    assert (own["target"] == own["label"]).all()
