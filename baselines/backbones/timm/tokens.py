"""Networks that decide by a class token: the feature map is what their last attention layer attends to.

The patch tokens that such a network returns reach no logit, so their gradient is zero. The last tensor of patches on
which the logits depend is the input of the last block. The target feature map is the output of that block's first
normalisation, the layer that pytorch-grad-cam recommends (``blocks[-1].norm1``), and the head is the rest of the
network: the last block, the final normalisation, the pooling and the classifier.

Not the block's own input: a layer normalisation ignores the shift and scale of a token, so a gradient through it is
orthogonal to the token, and Σ_i G_i·F_i (HiRes-CAM) would be zero in every cell.
"""

from __future__ import annotations

import copy
import math
from typing import Any, cast

import torch
from torch import Tensor, nn

from ...contracts import Head
from ...heads.context import pack, unpack
from ...heads.heads import reset, with_outputs

_LAST_BLOCKS = ("cls_attn_blocks", "blocks_token_only", "post_network", "transformers", "blocks")
"""Names under which timm keeps the blocks that end in the class token: XCiT, CaiT, VOLO, PiT (stages), all others."""


class Tap(nn.Module):
    """In the place of the last block: keeps the tokens that it is given and does nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: tuple[Tensor, ...] = ()

    def forward(self, *tokens: Tensor, **_: Any) -> Tensor:
        """The last of the tensors, unchanged."""
        self._seen = tokens
        return tokens[-1]

    def take(self) -> Tensor:
        """Tokens (B,T,N) of the last call, the class token first; they are kept no longer."""
        tokens, self._seen = self._seen, ()
        return tokens[0] if len(tokens) == 1 else torch.cat((tokens[1], tokens[0]), 1)


class _Given(nn.Module):
    """In the place of the last block's first normalisation: returns what it was handed."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens: Tensor | None = None

    def forward(self, _: Tensor) -> Tensor:
        assert self.tokens is not None
        return self.tokens


class Tail(nn.Module):
    """The last block and the final normalisation, as a function of packed features.

    Args:
        block: The last block, without its first normalisation.
        norm: The final normalisation.
        prefix: Class, distillation and register tokens.
        patches: P·Q.
        split: The block is called with (patches, class token) instead of all tokens, and returns the class token.
        options: Further keyword arguments of the block (rotary embeddings); the same for every image.
    """

    def __init__(
        self, block: nn.Module, norm: nn.Module, prefix: int, patches: int, split: bool, options: dict[str, Any]
    ) -> None:
        super().__init__()
        self.block, self.norm = block, norm
        self.prefix, self.patches, self.split = prefix, patches, split
        self._options = {k: v for k, v in options.items() if not isinstance(v, Tensor)}
        self._tensors = [k for k in options if k not in self._options]
        for key in self._tensors:
            # Saved with the weights: they may be made from parameters of the body (mixed rotary embeddings).
            self.register_buffer(f"given_{key}", options[key].detach().clone())
        self.block.norm1 = _Given()

    @property
    def context(self) -> int:
        """Tokens before the map: all tokens as the block adds to them, and the normalised prefix."""
        return 2 * self.prefix + self.patches

    def forward(self, features: Tensor, rows: int) -> Tensor:
        """Final tokens (B,T,N) of packed features (B,N,rows+P,Q)."""
        context, patches = unpack(features, rows, self.context)
        tokens = context[:, : self.prefix + self.patches]
        options = {**self._options, **{k: getattr(self, f"given_{k}") for k in self._tensors}}
        given = cast(_Given, self.block.norm1)
        given.tokens = torch.cat((context[:, -self.prefix :], patches), 1)
        try:
            if self.split:
                first = self.block(tokens[:, self.prefix :], tokens[:, : self.prefix], **options)
                out = torch.cat((first, tokens[:, self.prefix :]), 1)
            else:
                out = self.block(tokens, **options)
        finally:
            given.tokens = None
        final: Tensor = self.norm(out)
        return final


class _TailHead(Head):
    """A head behind a frozen tail: only its classifiers have parameters to train."""

    def __init__(self, tail: Tail, rows: int) -> None:
        super().__init__()
        self.tail, self.context_rows = tail, rows

    def final_tokens(self, features: Tensor) -> Tensor:
        """Final tokens (B,T,N) of packed features, or those that ``condense`` kept of them."""
        if features.shape[-2] == 1:
            return features[:, :, 0].transpose(1, 2)
        final: Tensor = self.tail(features, self.context_rows)
        return final

    def condense(self, features: Tensor) -> Tensor:
        """Final tokens as (B,N,1,T): all that is read of packed features while the tail is frozen."""
        return self.final_tokens(features).transpose(1, 2)[:, :, None]

    def requires_grad_(self, requires_grad: bool = True) -> _TailHead:
        """Let the classifiers be trained, or not; the tail is frozen either way. Returns itself."""
        super().requires_grad_(False)
        for name in self.classifiers:
            self.get_submodule(name).requires_grad_(requires_grad)
        return self


class TokenHead(_TailHead):
    """Last block, final normalisation, pooling and classifier of a class-token network.

    A fresh one (the sigmoid branch) has new classifiers and keeps the rest, which training leaves alone.

    Args:
        tail: What comes before the pooling.
        net: The network's ``forward_head``, without the network's body.
        rows: Context rows of the features.
        num_classes: Classes C.
        classifiers: Names of the last layers inside ``net``.
    """

    def __init__(self, tail: Tail, net: nn.Module, rows: int, num_classes: int, classifiers: tuple[str, ...]) -> None:
        super().__init__(tail, rows)
        self.net, self.num_classes = net, num_classes
        self.classifiers = tuple(f"net.{name}" for name in classifiers)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B,C) of packed features (B,N,R+P,Q)."""
        return self.read(self.final_tokens(features))

    def read(self, tokens: Tensor) -> Tensor:
        """Logits (B,C) of final tokens (B,T,N)."""
        logits: Tensor = self.net.forward_head(tokens)  # type: ignore[operator]
        return logits

    def condense(self, features: Tensor) -> Tensor:
        """The final class, distillation and register tokens (B,N,1,prefix)."""
        return super().condense(features)[..., : self.tail.prefix]

    def fresh(self, generator: torch.Generator | None = None, num_classes: int | None = None) -> TokenHead:
        """The same tail with new classifiers on the same device."""
        head = copy.deepcopy(self)
        head.num_classes = num_classes or self.num_classes
        for name in self.classifiers:
            parent, _, leaf = name.rpartition(".")
            layer = with_outputs(head.get_submodule(name), head.num_classes)
            reset(layer, generator)
            setattr(head.get_submodule(parent), leaf, layer)
        return cast(TokenHead, head.requires_grad_(True))


class SemanticHead(_TailHead):
    """TS-CAM's token-semantic head: a 3×3 convolution from the final patch tokens to class maps, and their average.

    The tail before it is the softmax head's, frozen; the paper fine-tunes the whole network with it.
    """

    classifiers = ("convolution",)

    def __init__(self, tail: Tail, rows: int, channels: int, num_classes: int) -> None:
        super().__init__(tail, rows)
        self.num_classes = num_classes
        self.convolution = nn.Conv2d(channels, num_classes, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B,C): the averages of the class maps."""
        return self.read(self.final_tokens(features))

    def read(self, tokens: Tensor) -> Tensor:
        """Logits (B,C) of final tokens (B,T,N)."""
        return self._maps(tokens).mean((-2, -1))

    def class_maps(self, features: Tensor, target: Tensor) -> Tensor:
        """Maps (B,P,Q) of classes ``target`` (B,)."""
        maps = self._maps(self.final_tokens(features))
        return maps[torch.arange(len(maps), device=maps.device), target]

    def fresh(self, generator: torch.Generator | None = None, num_classes: int | None = None) -> SemanticHead:
        """The same tail with a new convolution on the same device."""
        weight = self.convolution.weight
        head = SemanticHead(
            copy.deepcopy(self.tail), self.context_rows, weight.shape[1], num_classes or self.num_classes
        )
        head.convolution.to(weight.device, weight.dtype)
        reset(head.convolution, generator)
        return cast(SemanticHead, head.requires_grad_(True))

    def _maps(self, tokens: Tensor) -> Tensor:
        tokens = tokens[:, self.tail.prefix :]
        side = math.isqrt(tokens.shape[1])
        maps: Tensor = self.convolution(tokens.transpose(1, 2).reshape(len(tokens), -1, side, side))
        return maps


def last_block(model: nn.Module) -> tuple[str, nn.Module] | None:
    """Name and module of the last block, where its first layer is a normalisation; else None."""
    for name in _LAST_BLOCKS:
        blocks = getattr(model, name, None)
        if name == "transformers" and isinstance(blocks, nn.Sequential):
            name, blocks = f"{name}.{len(blocks) - 1}.blocks", getattr(blocks[-1], "blocks", None)
        if isinstance(blocks, nn.ModuleList | nn.Sequential) and len(blocks):
            block = blocks[len(blocks) - 1]
            if isinstance(getattr(block, "norm1", None), nn.Module):
                return f"{name}.{len(blocks) - 1}", block
            return None
    return None


def packed_features(tokens: Tensor, normalisation: nn.Module, prefix: int) -> Tensor:
    """Features (B,N,R+P,P) of the last block's input tokens (B,prefix+P·P,N)."""
    normal = normalisation(tokens)
    return pack(torch.cat((tokens, normal[:, :prefix]), 1), normal[:, prefix:], math.isqrt(normal.shape[1] - prefix))
