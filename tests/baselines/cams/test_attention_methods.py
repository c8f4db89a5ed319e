"""LeGrad, Transformer attribution and ViT-ReciproCAM on a small ViT: float64, by formulas, from the weights alone."""

from __future__ import annotations

import sys
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cambench.baselines.backbones.opening import open_backbone
from cambench.baselines.cams.attention import relevance
from cambench.baselines.cams.evidence import Evidence
from cambench.baselines.cams.identities import supports
from cambench.baselines.cams.method import CAMS
from cambench.baselines.contracts import Backbone, Branch

TARGET = 2
BRANCHES = ("softmax", "sigmoid")


@pytest.fixture(scope="module")
def vit() -> Backbone:
    net = open_backbone("timm:test_vit", num_classes=4, pretrained=False)
    generator = torch.Generator().manual_seed(3)
    net.heads["sigmoid"] = net.fresh_head("sigmoid", generator)
    net = net.double()
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if parameter.ndim > 1 and "pos_embed" not in name:
                spread = parameter[0].numel() ** -0.5
                parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) * spread)
            elif "bias" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64) / 5)
    # The last block and the final normalisation of a branch are its own: they must be those of the softmax branch.
    net.heads["sigmoid"].tail.load_state_dict(net.heads["softmax"].tail.state_dict())
    net.freeze()
    return net


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def evidence(net: Backbone, branch: str, images: Tensor) -> Evidence:
    head = net.head(branch)  # type: ignore[arg-type]
    ids = tuple("ab"[: len(images)])
    return Evidence(net.features(images), head, torch.full((len(images),), TARGET), ids, images, net)


class Plain:
    """The same ViT on one image, by matrix products; every block leaves its values in ``steps``."""

    def __init__(self, net: Any, branch: Branch, image: Tensor) -> None:
        model, head = net.model, net.head(branch)
        self.blocks = [*(b for b in model.blocks if hasattr(b, "attn")), head.tail.block]
        self.norms = [b.norm1 for b in self.blocks[:-1]] + [net.normalisation]
        self.norm, self.classifier = head.tail.norm, head.net.head
        x = model._pos_embed(model.patch_embed(image[None]))[0]
        self.steps: list[dict[str, Tensor]] = []
        for block, norm in zip(self.blocks, self.norms, strict=True):
            step = self.block(block, x, norm(x))
            self.steps.append(step)
            x = step["out"]

    def block(self, block: Any, x: Tensor, normal: Tensor) -> dict[str, Tensor]:
        heads, (tokens, width) = block.attn.num_heads, x.shape
        qkv = F.linear(normal, block.attn.qkv.weight, block.attn.qkv.bias)
        q, k, v = qkv.view(tokens, 3, heads, -1).permute(1, 2, 0, 3)
        q = q * (width / heads) ** -0.5
        attention = (q @ k.transpose(1, 2)).softmax(-1)
        return {"x": x, "normal": normal, "q": q, "k": k, "v": v, "A": attention, **self.rest(block, x, attention, v)}

    def rest(self, block: Any, x: Tensor, attention: Tensor, v: Tensor) -> dict[str, Tensor]:
        summed = (attention @ v).transpose(0, 1).reshape(x.shape)
        projected = F.linear(summed, block.attn.proj.weight, block.attn.proj.bias)
        middle = x + projected
        normal2 = block.norm2(middle)
        hidden = F.gelu(F.linear(normal2, block.mlp.fc1.weight, block.mlp.fc1.bias))
        mlp = F.linear(hidden, block.mlp.fc2.weight, block.mlp.fc2.bias)
        return {
            "summed": summed, "projected": projected, "middle": middle, "normal2": normal2, "hidden": hidden,
            "mlp": mlp, "out": middle + mlp,
        }  # fmt: skip

    def logits(self, out: Tensor) -> Tensor:
        return F.linear(self.norm(out)[0], self.classifier.weight, self.classifier.bias)


def generic(function: Any, inputs: list[Tensor], given: Tensor) -> list[Tensor]:
    """G of the paper: X ⊙ ∂L/∂X · R/L, by automatic differentiation."""
    leaves = [x.detach().requires_grad_() for x in inputs]
    made = function(*leaves)
    return [
        x.detach() * g for x, g in zip(leaves, torch.autograd.grad(made, leaves, given / made.detach()), strict=True)
    ]


def subset(x: Tensor, weight: Tensor, given: Tensor) -> Tensor:
    """Eq. 6: of every output, the contributions that are not negative share its relevance."""
    contributions = (x[..., None, :] * weight).clamp_min(0)
    shares = contributions / contributions.sum(-1, keepdim=True)
    return (shares * given[..., None]).sum(-2)


def scaled(left: Tensor, right: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
    size = left.sum().abs() + right.sum().abs()
    return tuple(p * p.sum().abs() / size * given.sum() / p.sum() for p in (left, right))  # type: ignore[return-value]


def attribution(plain: Plain) -> Tensor:
    """Chefer et al. by their equations, on one image: the class token's row."""
    x, joined = plain.steps[0]["x"], []
    for block, norm in zip(plain.blocks, plain.norms, strict=True):
        inner = plain.block(block, x, norm(x))
        found = inner["A"].detach().requires_grad_() if not inner["A"].requires_grad else inner["A"]
        joined.append(found)
        x = plain.rest(block, x, found, inner["v"])["out"]
    gradients = torch.autograd.grad(plain.logits(x)[TARGET], joined)
    flow = torch.zeros_like(x).detach()
    one = torch.eye(len(plain.classifier.weight), dtype=x.dtype)[TARGET]
    flow[0] = subset(plain.norm(x).detach()[0], plain.classifier.weight, one)
    factors = []
    for block, s, gradient in zip(plain.blocks[::-1], plain.steps[::-1], gradients[::-1], strict=True):
        s = {name: value.detach() for name, value in s.items()}
        a, b = scaled(*generic(torch.add, [s["middle"], s["mlp"]], flow), flow)
        b = subset(s["hidden"], block.mlp.fc2.weight, b)
        b = subset(s["normal2"], block.mlp.fc1.weight, b)
        flow = a + b
        a, b = scaled(*generic(torch.add, [s["x"], s["projected"]], flow), flow)
        b = subset(s["summed"], block.attn.proj.weight, b)
        heads = len(s["A"])
        per_head = b.view(len(b), heads, -1).transpose(0, 1)
        of_a, of_v = scaled(*generic(torch.matmul, [s["A"], s["v"]], per_head), per_head)
        product = generic(lambda q, k: q @ k.transpose(1, 2), [s["q"], s["k"]], of_a)
        of_q, of_k = scaled(*product, of_a)
        together = torch.stack((of_q, of_k, of_v)).permute(2, 0, 1, 3).flatten(1)
        flow = a + subset(s["normal"], block.attn.qkv.weight, together)
        factors.append((gradient * of_a).clamp_min(0).mean(0))
    identity = torch.eye(len(x), dtype=x.dtype)
    joint = identity
    for factor in reversed(factors):
        joint = (identity + factor) @ joint
    return joint[0, 1:].view(14, 14)


def test_transformer_attribution_by_the_papers_equations(
    vit: Backbone, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert supports(CAMS.get("transformer_attribution"), vit.float()) is None
    vit.double()
    # In groups of one image.
    monkeypatch.setattr(sys.modules[CAMS.get("transformer_attribution").fn.__module__], "BUDGET", 1)
    monkeypatch.setattr(relevance, "TINY", 1e-30)
    with torch.no_grad():
        found = CAMS.get("transformer_attribution").fn(evidence(vit, "sigmoid", images))
    torch.testing.assert_close(found[-1], attribution(Plain(vit, "sigmoid", images[1])), rtol=1e-8, atol=1e-14)
    assert found.min() >= 0
    assert found[-1].max() > 1.01 * found[-1].median()


@pytest.mark.parametrize("branch", BRANCHES)
def test_le_grad_by_formulas(vit: Backbone, images: Tensor, branch: Branch) -> None:
    with torch.no_grad():
        found = CAMS.get("legrad").fn(evidence(vit, branch, images))
    plain, total = Plain(vit, branch, images[0]), torch.zeros(197, dtype=torch.float64)
    for block, step in zip(plain.blocks, plain.steps, strict=True):
        attention = step["A"].detach().requires_grad_()
        out = plain.rest(block, step["x"].detach(), attention, step["v"].detach())["out"]
        (gradient,) = torch.autograd.grad(plain.logits(out)[TARGET], attention)
        total += gradient.clamp_min(0).mean((0, 1)) / len(plain.blocks)
    torch.testing.assert_close(found[0], total[1:].view(14, 14), rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize("branch", BRANCHES)
def test_vit_recipro_by_formulas(vit: Backbone, images: Tensor, branch: Branch) -> None:
    with torch.no_grad():
        found = CAMS.get("vit_reciprocam").fn(evidence(vit, branch, images[:1]))
    plain = Plain(vit, branch, images[0])
    block, step, scores, cells = plain.blocks[-1], plain.steps[-1], [], [0, 13, 14, 97, 105, 182, 195]
    for cell in cells:
        kept = torch.zeros(14, 14, dtype=torch.float64)
        p, q = divmod(cell, 14)
        for y in range(max(0, p - 1), min(14, p + 2)):
            for x in range(max(0, q - 1), min(14, q + 2)):
                kept[y, x] = 2.0 ** -(2 + abs(y - p) + abs(x - q))
        normal = step["normal"] * torch.cat((torch.ones(1).double(), kept.flatten()))[:, None]
        logits = plain.logits(plain.block(block, step["x"], normal)["out"]).detach()
        scores.append((logits.softmax(0) if branch == "softmax" else logits.sigmoid())[TARGET])
    expected = torch.stack(scores)
    ours = found[0].flatten()[cells]
    torch.testing.assert_close(ours - ours[0], expected - expected[0], rtol=1e-7, atol=1e-12)
    assert found.min() == 0


def test_le_grad_where_tokens_are_averaged_and_maps_of_a_batch() -> None:
    net = open_backbone("timm:test_vit4", num_classes=4, pretrained=False).freeze()
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        both, alone = (CAMS.get("legrad").fn(evidence(net, "softmax", x)) for x in (images, images[1:]))
    assert both.shape == (2, 14, 14)
    assert both.min() >= 0
    torch.testing.assert_close(both[1:], alone, rtol=1e-3, atol=1e-14)
    assert not any(m._forward_hooks for m in net.modules())


@pytest.mark.parametrize(
    ("network", "method", "words"),
    [
        ("slim_resnet", "legrad", "slim_resnet cannot give: it has no global attention"),
        ("slim_resnet", "vit_reciprocam", "slim_resnet has none; nearest: reciprocam"),
        ("timm:test_vit4", "transformer_attribution", "has no class token that decides; nearest: legrad"),
        ("timm:test_vit", "reciprocam", "decides by a class token; nearest: vit_reciprocam"),
        ("timm:test_vit", "liftcam", "layers without a rule: GELU, LayerNorm"),
        ("timm:test_vit", "zoomcam", "needs feature maps finer than the target's"),
    ],
)
def test_refusals(network: str, method: str, words: str) -> None:
    net = open_backbone(network, num_classes=4, pretrained=False)
    assert relevance.unruly(net) == f"blocks of the type {type(net).__name__}"
    assert words in str(supports(CAMS.get(method), net))
