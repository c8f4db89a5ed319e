"""A class-token transformer through a whole run: its heads trained, its methods scored, impossible triples refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import cambench
from cambench.baselines.backbones.opening import open_backbone
from cambench.baselines.contracts import BACKBONES, Branch
from cambench.bench.host.errors import UsageError
from cambench.bench.notebook.runs import run
from cambench.bench.training.head import load_head, train_head
from cambench.bench.training.means import Means
from cambench.bench.training.recipes.recipe import HeadRecipe
from cambench.bench.training.recipes.recipe_files import load_recipe
from cambench.datasets.open import open_table
from cambench.registry import RegistryError
from cambench.results.records.load import load_run

NAME = "timm:test_vit"
TRIPLES = (
    f"{NAME}/gradcam/{{softmax,sigmoid}}",
    f"{NAME}/rollout/softmax",
    f"{NAME}/tscam/token_semantic",
    f"{NAME}/gradcam/token_semantic",
)


@pytest.fixture
def recipe(tmp_path: Path) -> str:
    """Two epochs."""
    file = tmp_path / "two.yaml"
    fields: dict[str, Any] = {
        "name": "two", "source": "test", "epochs": 2, "batch_size": 12, "size": 224,
        "optimiser": {"name": "adamw", "lr": 0.001, "weight_decay": 0.0},
        "schedule": {"kind": "cosine"}, "augment": None,
    }  # fmt: skip
    file.write_text(yaml.safe_dump(fields))
    return str(file)


def test_a_vision_transformer_from_training_to_tables(settings: dict[str, Any], recipe: str) -> None:
    options = {**settings, "pretrained": False, "head_recipe": recipe, "limit": 5}
    finished = run(**{**options, "triples": TRIPLES})
    records = load_run(settings["out"])
    network = records.manifest.backbones[NAME]
    assert network.feature_layer == "blocks.5.norm1"
    assert set(network.branches) == {"softmax", "sigmoid", "semantic"}
    losses = {b: network.branches[b].training["losses"] for b in network.branches}  # type: ignore[index]
    assert all(len(values) == 2 and values[1] < values[0] for values in losses.values()), losses
    assert records.manifest.cams["tscam"].cost == "2 forwards + 1 head forward"
    text = (settings["out"] / "tables" / "scores.md").read_text()
    assert "TS-CAM" in text
    assert "Attention Rollout" in text
    assert len(finished.run.index) == 5
    timing = records.manifest.timings.backbones[NAME]
    assert timing.feature_shape == (64, 14, 14)

    # The trained heads are this network's own: same tail, other classifiers; a second run takes them from files.
    net = open_backbone(NAME, num_classes=12, pretrained=False)
    files = {b: settings["out"] / "heads" / f"timm%3Atest_vit.{b}.safetensors" for b in losses}
    for branch, file in files.items():
        load_head(file, net, branch)  # type: ignore[arg-type]
    images = torch.randn(1, 3, 224, 224)
    logits = {b: net.head(b)(net.features(images)) for b in files}  # type: ignore[arg-type]
    assert len({tuple(v.flatten().tolist()) for v in logits.values()}) == 3
    heads = {branch: files[branch] for branch in ("sigmoid", "semantic")}
    again = run(
        **{
            **options,
            "triples": TRIPLES[:1] + TRIPLES[2:3],
            "out": settings["out"].with_name("again"),
            "head_weights": heads,
            "softmax_weights": files["softmax"],
        }
    )
    for triple in (f"{NAME}/tscam/token_semantic", f"{NAME}/gradcam/sigmoid"):
        first, second = (r.records(triple) for r in (records, again.run))
        np.testing.assert_array_equal(first["o"].to_numpy(), second["o"].to_numpy())


@pytest.mark.parametrize("branch", ["sigmoid", "semantic"])
def test_heads_behind_a_frozen_block_train_on_what_it_makes(
    settings: dict[str, Any], recipe: str, branch: Branch
) -> None:
    """One backbone pass with a small cache, or a pass an epoch: the same losses and the same head."""
    table = open_table("wsol", settings["root"], "train", **settings["options"])
    chosen = load_recipe(HeadRecipe, recipe)
    found = []
    for cache in (1 << 30, 0):
        net = open_backbone(NAME, num_classes=12, pretrained=False)
        net.needs_training = False
        record = train_head(net, table, chosen, branch, Means(cache_bytes=cache, workers=1))
        found.append((record, net.head(branch).state_dict()))
    (kept, first), (streamed, second) = found
    assert (kept.backbone_passes, kept.cached, kept.pooled) == (1, True, True)
    assert (streamed.backbone_passes, streamed.cached, streamed.pooled) == (2, False, False)
    # float32: 64 channels of the class token, or of it and 196 patches.
    assert kept.cache_bytes == len(table) * 64 * 4 * (1 if branch == "sigmoid" else 197)
    np.testing.assert_allclose(kept.losses, streamed.losses, rtol=1e-4)
    fresh = open_backbone(NAME, num_classes=12, pretrained=False).head().state_dict()
    for key, value in first.items():
        torch.testing.assert_close(value, second[key], rtol=1e-3, atol=1e-4)
        assert not key.startswith("tail.") or torch.equal(value, fresh[key]), "the tail is frozen"


@pytest.fixture
def mine() -> Iterator[str]:
    """A wrapped network of the user's own."""
    torch.manual_seed(2)
    body = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 5, stride=32), torch.nn.ReLU())
    head = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 12))
    cambench.wrap(name="mine", features=body, head=head, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    yield "mine"
    BACKBONES._entries.pop("mine"), BACKBONES._origin.pop("mine")


def test_a_wrapped_network_runs(settings: dict[str, Any], mine: str) -> None:
    done = run(**{**settings, "triples": (f"{mine}/{{cam,gradcam,layercam,center}}/softmax*",)})
    record = done.run.manifest.backbones[mine]
    assert (record.weights_source, record.head_kind) == ("given to cambench.wrap", "gap_linear")
    assert done.run.manifest.aliases[f"{mine}/gradcam/softmax"] == f"{mine}/cam/softmax"


@pytest.mark.parametrize(
    ("triple", "message"),
    [
        ("slim_resnet/rollout/softmax", "rollout needs attention, which slim_resnet cannot give: .*nearest: "),
        ("slim_resnet/tscam/token_semantic", "token_semantic does not fit slim_resnet: .*nearest: "),
        ("slim_resnet/gradcam/token_semantic", "token_semantic does not fit slim_resnet: .*nearest: gradcam under"),
        (f"{NAME}/cam/softmax", "cam needs a GAP . linear head, and timm:test_vit has another kind of head; nearest"),
        (f"{NAME}/tscam/softmax", f"token_semantic, on a transformer; write {NAME}/tscam/token_semantic"),
        ("timm:test_vit4/gradcam/token_semantic", "token_semantic does not fit timm:test_vit4: it has no class token"),
        ("timm:swin_tiny_patch4_window7_224/rollout/softmax", "rollout needs attention, which timm:swin"),
        ("timm:coat_tiny/gradcam/softmax", "timm:coat_tiny is not supported: several maps of tokens .*nearest: timm:"),
    ],
)
def test_impossible_triples_are_refused_before_the_run(settings: dict[str, Any], triple: str, message: str) -> None:
    with pytest.raises((UsageError, RegistryError), match=message):
        run(**{**settings, "pretrained": False, "triples": (triple,)})
    assert not settings["out"].exists()
