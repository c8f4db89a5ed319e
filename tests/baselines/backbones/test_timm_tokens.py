"""Class-token transformers: the head is exact, gradients are a full network's, attention is the fused path's."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

from cambench.baselines.backbones.opening import open_backbone
from cambench.baselines.backbones.timm.create import create
from cambench.baselines.backbones.timm.net import TimmBackbone
from cambench.baselines.cams.evidence import Evidence
from cambench.baselines.cams.identities import supports
from cambench.baselines.cams.method import CAMS
from cambench.baselines.cams.score_map import raw_map
from cambench.baselines.contracts import HEADS, Branch
from cambench.baselines.heads.context import pack, rows_of, unpack
from cambench.baselines.heads.heads import ModuleHead
from cambench.baselines.probes.attention import attention_layers, explicit_path

# name: (prefix tokens, side of the map, channels, feature layer, attention is readable, can take a semantic head)
NETWORKS = {
    "test_vit": (1, 14, 64, "blocks.5.norm1", True, True),
    "test_vit3": (1, 14, 96, "blocks.8.norm1", True, True),
    "vit_tiny_patch16_384": (1, 14, 192, "blocks.11.norm1", True, True),
    "deit_tiny_distilled_patch16_224": (2, 14, 192, "blocks.11.norm1", True, True),
    "vit_tiny_r_s16_p8_224": (1, 7, 192, "blocks.11.norm1", True, True),
    "convit_tiny": (1, 14, 192, "blocks.11.norm1", False, True),
    "cait_xxs24_224": (1, 14, 192, "blocks_token_only.1.norm1", False, False),
    "pit_ti_distilled_224": (2, 7, 256, "transformers.2.blocks.3.norm1", False, True),
    "xcit_nano_12_p16_224": (1, 14, 128, "cls_attn_blocks.1.norm1", False, True),
}
SIZES = dict.fromkeys(("test_vit", "test_vit3", "test_vit4", "vit_tiny_patch16_384"), 224)
LARGE = {"cait_xxs24_224", "convit_tiny", "hiera_tiny_224"}
TARGET = torch.tensor([3, 8])


def slow_if_large(name: str) -> object:
    """The parameter ``name``, marked as slow where the network takes seconds."""
    return pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(3))


def whole_network(name: str) -> nn.Module:
    """timm's model with random weights that leave a gradient at every token (layer scales of 1e-5 would not)."""
    torch.manual_seed(0)
    model = create(name, pretrained=False, num_classes=10, size=SIZES.get(name)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1 or "head" in name:
                parameter.add_(torch.randn_like(parameter) * 0.2)
        for layer in model.modules():
            if isinstance(layer, nn.Linear) and layer.out_features == 10:
                layer.weight.normal_(std=0.3)
    return model


@pytest.fixture(scope="module")
def small() -> tuple[nn.Module, TimmBackbone]:
    """The smallest ViT of timm: whole, and split."""
    whole = whole_network("test_vit")
    net = TimmBackbone(copy.deepcopy(whole), "timm:test_vit")
    net.freeze()
    return whole, net


@pytest.mark.parametrize("name", [slow_if_large(n) for n in NETWORKS])
def test_the_split_network_and_its_gradient_are_timms(name: str, images: Tensor) -> None:
    prefix, side, channels, layer, attends, semantic = NETWORKS[name]
    whole = whole_network(name)
    net = TimmBackbone(copy.deepcopy(whole), f"timm:{name}")
    net.freeze()
    assert (net.prefix_tokens, net.feature_layer, net.head_kind, net.class_token) == (prefix, layer, "other", True)
    assert (net.lacks("attention") is None, net.lacks("semantic") is None) == (attends, semantic)
    count = sum(p.numel() for p in whole.parameters())
    assert sum(p.numel() for p in net.parameters()) == count, "none lost or doubled"

    # An independent reference: autograd through the whole network, cut open by a hook at the stated layer.
    seen: list[Tensor] = []
    hook = whole.get_submodule(layer).register_forward_hook(lambda _, __, out: seen.append(out) or seen[0])
    for parameter in whole.parameters():
        parameter.requires_grad_(False)
    leaf = images.clone().requires_grad_()
    logits = whole(leaf)
    hook.remove()
    (reference,) = torch.autograd.grad(logits[[0, 1], TARGET].sum(), seen[0])

    def as_map(tokens: Tensor) -> Tensor:
        return tokens[:, prefix:].transpose(1, 2).reshape(2, channels, side, side)

    with torch.no_grad():
        features = net.features(images)
    evidence = Evidence(features, net.head(), TARGET, ("a", "b"), images, net)
    assert evidence.features.shape == (2, channels, side, side)
    torch.testing.assert_close(evidence.logits, logits.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(evidence.features, as_map(seen[0].detach()), rtol=1e-5, atol=1e-5)
    scale = float(reference.abs().max())
    assert scale > 0
    torch.testing.assert_close(evidence.gradients / scale, as_map(reference) / scale, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "name",
    [slow_if_large(n) for n in ("test_vit", "test_vit4", "xcit_nano_12_p16_224", "hiera_tiny_224", "test_mambaout")],
)
def test_cells_lie_where_their_pixels_are(name: str, images: Tensor) -> None:
    """What changes in the map when a square of pixels changes is centred on that square: rows are rows."""
    torch.manual_seed(0)
    net = TimmBackbone(create(name, pretrained=False, size=SIZES.get(name)), f"timm:{name}")
    rows = net.head().context_rows
    for y, x in ((48, 112), (176, 48), (176, 176)):
        changed = images[:1].clone()
        changed[:, :, y - 16 : y + 16, x - 16 : x + 16] += 3 * torch.randn(3, 32, 32)
        with torch.no_grad():
            change = (net.features(changed) - net.features(images[:1]))[:, :, rows:].square().sum((0, 1))
        change = (change - change.median()).clamp_min(0)
        places = (torch.arange(len(change)) + 0.5) * 224 / len(change)
        found = [float((change.sum(axis) * places).sum() / change.sum()) for axis in (1, 0)]
        assert found == pytest.approx([y, x], abs=24)


@pytest.mark.parametrize("name", ["test_vit", "test_vit4", "test_convnext", "test_mambaout", "test_resnet"])
def test_low_precision_bodies(name: str, images: Tensor) -> None:
    """The body under autocast, the head in float32, as a run does it: near float32, and finite gradients."""
    torch.manual_seed(0)
    net = TimmBackbone(create(name, pretrained=False, num_classes=10, size=SIZES.get(name)), f"timm:{name}")
    net.freeze()
    with torch.no_grad():
        exact = net.features(images)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            low = net.features(images).float()
    assert low.shape == exact.shape
    assert (low - exact).abs().max() < 0.1 * exact.abs().max()
    precise, rough = (Evidence(f, net.head(), TARGET, ("a", "b"), images, net) for f in (exact, low))
    for gradient in (precise.gradients, rough.gradients):
        assert gradient.dtype == torch.float32
        assert torch.isfinite(gradient).all()
    cosine = torch.cosine_similarity(precise.gradients.flatten(1), rough.gradients.flatten(1))
    assert (cosine > 0.9).all()


def test_the_input_of_a_layer_normalisation_would_give_no_hirescam(
    small: tuple[nn.Module, TimmBackbone], images: Tensor
) -> None:
    whole, net = small
    block = whole.get_submodule("blocks.5")
    seen: list[Tensor] = []
    hook = block.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    logits = whole(images.clone().requires_grad_())
    hook.remove()
    (gradient,) = torch.autograd.grad(logits[[0, 1], TARGET].sum(), seen[0])
    at_input = (gradient * seen[0].detach())[:, 1:].sum(-1)
    evidence = Evidence(net.features(images), net.head(), TARGET, ("a", "b"), images, net)
    at_norm = raw_map(CAMS.get("hirescam"), evidence, clamp=False)
    assert at_input.abs().max() < 1e-4 * at_norm.abs().max()


def test_every_method_on_tokens(small: tuple[nn.Module, TimmBackbone], images: Tensor) -> None:
    """Finite, deterministic, of the map's shape, and independent of the batch."""
    _, net = small
    net.heads["sigmoid"] = net.head().fresh(torch.Generator().manual_seed(4))
    net.heads["semantic"] = net.fresh_head("semantic", torch.Generator().manual_seed(5))
    net.freeze()
    ids = ("a", "b")
    with torch.no_grad():
        features = net.features(images)
    kept, ran = features.clone(), []
    for head in map(HEADS.get, HEADS.names()):
        branch = net.head(head.branch)
        both, again = (Evidence(features, branch, TARGET, ids, images, net) for _ in range(2))
        alone = Evidence(features[1:], branch, TARGET[1:], ids[1:], images[1:], net)
        assert both.branch == head.branch
        for cam in CAMS.names():
            method = CAMS.get(cam)
            if supports(method, net, head) is not None or (method.heads and head.name not in method.heads):
                continue
            if method.expensive and cam not in {"ablationcam", "rollout", "tscam"}:
                continue
            one, two, single = (raw_map(method, e, clamp=False) for e in (both, again, alone))
            assert one.shape == (2, 14, 14), cam
            assert torch.isfinite(one).all(), cam
            assert torch.equal(one, two), cam
            torch.testing.assert_close(single, one[1:], rtol=1e-3, atol=1e-4 * float(one.abs().max()) + 1e-9)
            ran.append(cam)
    del net.heads["sigmoid"], net.heads["semantic"]
    assert {"gradcam", "layercam", "hirescam", "eigencam", "shapleycam", "rollout", "tscam"} <= set(ran)
    assert torch.equal(features, kept)


def test_copies_of_an_image_keep_its_context(small: tuple[nn.Module, TimmBackbone], images: Tensor) -> None:
    _, net = small
    evidence = Evidence(net.features(images), net.head(), TARGET, ("a", "b"), images, net)
    chosen = evidence.logits.gather(1, TARGET[:, None])
    twice = evidence.score_features(evidence.features.repeat_interleave(3, 0)).view(2, 3)
    torch.testing.assert_close(twice, chosen.expand(2, 3), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(evidence.score_images(images), chosen[:, 0], rtol=1e-5, atol=1e-6)
    same = evidence.head_gradient(features=net.features(images))
    torch.testing.assert_close(same, evidence.gradients, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["test_vit", "deit_tiny_distilled_patch16_224"])
def test_a_fresh_head_has_new_classifiers_and_the_same_tail(name: str, images: Tensor) -> None:
    net = TimmBackbone(whole_network(name), f"timm:{name}")
    net.freeze()
    head = net.head().fresh(torch.Generator().manual_seed(1), num_classes=4)
    trained = {n for n, p in head.named_parameters() if p.requires_grad}
    assert trained == {f"{c}.{part}" for c in head.classifiers for part in ("weight", "bias")}
    old = dict(net.head().named_parameters())
    for key, value in head.named_parameters():
        assert key in trained or torch.equal(value, old[key])
    features = net.features(images)
    assert head(features).shape == (2, 4)
    head(features).sum().backward()
    assert all((p.grad is not None) == (n in trained) for n, p in head.named_parameters())
    again = net.head().fresh(torch.Generator().manual_seed(1), num_classes=4)
    assert torch.equal(again(features), head(features))


def manual_attention(model: nn.Module, images: Tensor, count: Callable[[Tensor], object]) -> None:
    """Softmax of the scaled products of queries and keys, from each layer's own linear map."""

    def look(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        (x,) = given[:1]
        heads = layer.num_heads
        q, k, _ = layer.qkv(x).unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        count((layer.q_norm(q) @ layer.k_norm(k).transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1).mean(1))

    hooks = [block.attn.register_forward_pre_hook(look) for block in model.blocks]
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()


def test_attention_is_the_fused_paths(small: tuple[nn.Module, TimmBackbone], images: Tensor) -> None:
    whole, net = small
    layers = attention_layers([net])
    assert len(layers) == 6
    assert all(layer.fused_attn for layer in layers)
    with torch.no_grad():
        fused = net(images)
        with explicit_path(layers):
            assert not any(layer.fused_attn for layer in layers)
            torch.testing.assert_close(net(images), fused, rtol=1e-5, atol=1e-5)
    read = net.attention(images)
    assert all(layer.fused_attn for layer in layers), "restored"
    expected: list[Tensor] = []
    manual_attention(whole, images, expected.append)
    assert read.shape == (6, 2, 197, 197)
    torch.testing.assert_close(read, torch.stack(expected), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(read.sum(-1), torch.ones(6, 2, 197))

    def broken() -> None:
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"), explicit_path(layers):
        broken()
    assert all(layer.fused_attn for layer in layers), "restored after an error"


def test_rollout_is_the_papers_recursion(small: tuple[nn.Module, TimmBackbone], images: Tensor) -> None:
    _, net = small
    evidence = Evidence(net.features(images), net.head(), TARGET, ("a", "b"), images, net)
    made = raw_map(CAMS.get("rollout"), evidence, clamp=False)
    matrices = evidence.attention.double().numpy()
    for b in range(2):
        joint = None
        for layer in matrices[:, b]:
            raw = 0.5 * layer
            raw.flat[:: len(raw) + 1] += 0.5
            raw /= raw.sum(1, keepdims=True)
            joint = raw if joint is None else raw.dot(joint)
        assert joint is not None
        torch.testing.assert_close(
            made[b].double(), torch.from_numpy(joint[0, 1:].reshape(14, 14)), atol=1e-7, rtol=1e-4
        )


def test_rollout_without_a_class_token_averages_the_patches(images: Tensor) -> None:
    net = TimmBackbone(whole_network("test_vit4"), "timm:test_vit4")
    net.freeze()
    assert (net.class_token, net.prefix_tokens, net.lacks("attention")) == (False, 1, None)
    assert "no class token" in str(net.lacks("semantic"))
    evidence = Evidence(net.features(images), net.head(), TARGET, ("a", "b"), images, net)
    made = raw_map(CAMS.get("rollout"), evidence, clamp=False)
    joint = torch.eye(197)
    for layer in evidence.attention[:, 1]:
        joint = (layer / 2 + torch.eye(197) / 2) @ joint
    torch.testing.assert_close(made[1], joint[1:, 1:].mean(0).view(14, 14), rtol=1e-4, atol=1e-7)


def test_tscam_is_attention_times_class_map(small: tuple[nn.Module, TimmBackbone], images: Tensor) -> None:
    whole, net = small
    head = net.fresh_head("semantic", torch.Generator().manual_seed(2), num_classes=10)
    assert {n for n, p in head.named_parameters() if p.requires_grad} == {"convolution.weight", "convolution.bias"}
    net.heads["semantic"] = head
    net.freeze()
    evidence = Evidence(net.features(images), net.head("semantic"), TARGET, ("a", "b"), images, net)
    with torch.no_grad():
        tokens = whole.forward_features(images)[:, 1:]
        maps = head.convolution(tokens.transpose(1, 2).reshape(2, 64, 14, 14))
    torch.testing.assert_close(evidence.logits, maps.mean((-2, -1)), rtol=1e-4, atol=1e-6)
    coupled = evidence.attention.sum(0)[:, 0, 1:].reshape(2, 14, 14) / 6 * maps[[0, 1], TARGET]
    made = raw_map(CAMS.get("tscam"), evidence, clamp=False)
    torch.testing.assert_close(made, coupled, rtol=1e-3, atol=1e-7)
    del net.heads["semantic"]


def test_tokens_are_packed_and_unpacked() -> None:
    context, patches = torch.randn(2, 5, 3), torch.randn(2, 16, 3)
    features = pack(context, patches, 4)
    assert features.shape == (2, 3, rows_of(5, 4) + 4, 4)
    first, second = unpack(features, 2, 5)
    assert torch.equal(first, context)
    assert torch.equal(second, patches)


def test_another_image_size_is_an_error_and_not_a_crash(small: tuple[nn.Module, TimmBackbone]) -> None:
    with pytest.raises(ValueError, match="timm:test_vit is built for images of 224×224 pixels, got 96×96"):
        small[1].features(torch.zeros(1, 3, 96, 96))


def test_networks_without_attention_say_so(images: Tensor) -> None:
    net = TimmBackbone(timm.create_model("test_resnet", num_classes=3), "timm:test_resnet")
    with pytest.raises(TypeError, match="test_resnet has no attention to read: it has no global attention"):
        net.attention(images)
    with pytest.raises(TypeError, match="test_resnet can take no token-semantic head"):
        net.fresh_head("semantic")
    assert isinstance(net.head(), ModuleHead) or net.head_kind == "gap_linear"


@pytest.mark.parametrize("name", ["test_vit", "eva02_tiny_patch14_224"])
def test_weights_files_of_transformers(name: str, tmp_path: Path, images: Tensor) -> None:
    """In timm's names, and as cambench writes them with every branch: the same logits again."""
    torch.manual_seed(4)
    model = create(name, pretrained=False, num_classes=6).eval()
    torch.save(model.state_dict(), tmp_path / "timm.pth")
    with torch.no_grad():
        expected = model(images)
        net = open_backbone(f"timm:{name}", weights=tmp_path / "timm.pth")
        torch.testing.assert_close(net(images), expected, rtol=1e-5, atol=1e-5)
    assert (net.num_classes, net.needs_training) == (6, False)
    branches: list[Branch] = ["sigmoid", *(["semantic"] if net.lacks("semantic") is None else [])]  # type: ignore[list-item]
    for branch in branches:
        net.heads[branch] = net.fresh_head(branch, torch.Generator().manual_seed(7))
    torch.save(net.state_dict(), tmp_path / "ours.pth")
    again = open_backbone(f"timm:{name}", weights=tmp_path / "ours.pth")
    assert list(again.heads) == ["softmax", *branches]
    with torch.no_grad():
        features = again.features(images)
        for branch in again.heads:
            assert torch.equal(again.head(branch)(features), net.head(branch)(features))  # type: ignore[arg-type]


def test_position_embeddings_that_a_network_learnt_come_with_its_weights(images: Tensor) -> None:
    """Mixed rotary embeddings are made from parameters of the body and handed to the last block."""
    nets = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = timm.create_model("vit_small_patch16_rope_mixed_224", num_classes=3, depth=2, embed_dim=96, num_heads=3)
        with torch.no_grad():
            model.rope.freqs.add_(torch.randn_like(model.rope.freqs))
        whole = copy.deepcopy(model).eval()
        net = TimmBackbone(model, "timm:rope")
        net.freeze()
        with torch.no_grad():
            torch.testing.assert_close(net(images), whole(images), rtol=1e-5, atol=1e-5)
        nets.append(net)
    assert nets[0].class_token
    nets[1].load_state_dict(nets[0].state_dict())
    with torch.no_grad():
        assert torch.equal(nets[0](images), nets[1](images))
