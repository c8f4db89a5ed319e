"""A whole network as it is, as a backbone: read and changed at one layer by hooks, never rewritten."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ...contracts import Backbone, Head
from ...heads.heads import gap_linear_of
from ...heads.readings import make_binary
from ...probes.in_place import ADVICE, overwritten
from ..timm.layout import Call, UnsupportedNetworkError, calls, close, last_layer, unsupported
from .classifier import are_probabilities, behind_softmax, check_classifier, is_classifier
from .function_parts import function_digest, modules_in, rebound
from .network_facts import PROBE_SIZE, NetworkFacts, probe_images, trial_like
from .outputs import NoLogitsError, advice_on, described, first_tensor, listed, logits_in, passed_over
from .own_copy import Copies, not_finite, own_copies, swapped_for, tried, unwrapped
from .read_layers import before, chosen_tap, depends, layer_name, layers_before, place_of, tap_at
from .rest import RestOfNetwork, packed
from .tapped import CalledNetwork, ReadPoint


@dataclass(frozen=True)
class Reads:
    """How a whole network is called and read; the fields of ``wrap``."""

    layer: str | nn.Module | None = None
    logits: Callable[[Any], Tensor] | None = None
    score: Callable[[Any], Tensor] | None = None
    inputs: Callable[[Tensor], Any] | None = None
    prefix_tokens: int | None = None


class HookedNetwork(Backbone):
    """See ``wrap``: the network is copied, and its layers stay where they are.

    Args:
        model: The user's network, which stays as it is.
        facts: What is said of it.
        reads: How it is called and read.

    Raises:
        UnsupportedNetworkError: It cannot be read; the message says why, and what to do.
    """

    only_eager = "its feature map is read by a hook that every forward sets anew"

    def __init__(self, model: nn.Module, facts: NetworkFacts, reads: Reads) -> None:
        super().__init__(facts.mean, facts.std)
        self.name, self.class_names, self.multi_label = facts.name, facts.class_names, facts.multi_label
        self.weights_source = "given to cambench.wrap"
        functions = [f for f in (reads.inputs, reads.score or reads.logits) if f is not None]
        self.reads = function_digest(functions) if functions else ""
        size = facts.input_size or PROBE_SIZE
        probe = probe_images(size, self.image_channels)
        self.body = self._copied(model, reads, probe)
        like = next(iter(self.body.parameters()), self.mean)
        self.to(like.device)
        probe = probe.to(like.device)
        with torch.no_grad(), calls(self.body.net) as seen:
            logits = self._checked_logits(probe, reads)
        if not (reads.logits or reads.score or facts.class_names):
            check_classifier(self.body.net, seen, logits, self.name)
        if are_probabilities(seen, logits):
            self.body.of_probabilities = True
            self.multi_label |= logits.shape[1] > 1
        elif reads.score is None:
            self.body.before_softmax = behind_softmax(seen, logits)
        with torch.no_grad():
            logits = self.body(probe)
        self._tap = self._find_tap(model, reads, probe, seen)
        self.input_size = facts.input_size
        with torch.no_grad():
            features = self.body.read(probe, self._tap)
            self._check_dependence(probe, features, reads)
            head = self._head_for(probe, features, logits, seen)
            given = packed(probe, features) if head.context_rows else features
            again = head(given)
        if not close(again, logits):
            with torch.no_grad():
                if not close(self.body(probe), logits):
                    raise unsupported(
                        self.name,
                        "it gives other logits for the same images the second time (dropout, noise or a state that its "
                        "evaluation mode does not switch off), so no map would be of what it decides",
                    )
            raise unsupported(
                self.name,
                f"with the map of {self._tap.layer} in its own place it gives other logits than its own forward; name "
                "another layer",
            )
        if isinstance(head, RestOfNetwork) and (lost := overwritten(head, given)) is not None:
            raise unsupported(self.name, f"it overwrites {lost} in place, which its gradient needs: {ADVICE}")
        self.feature_layer = self._tap.layer
        self.nonnegative = last_layer(list(seen), self._raw(seen))[1]
        self.through_network = head.context_rows > 0
        if self.through_network:
            # The images travel with the map, so they have one size.
            self.input_size = size
        else:
            maps = (c.name for c in seen if isinstance(c.output, Tensor) and c.output.ndim == 4)
            self.stages = tuple(f"body.net.{n}" for n in dict.fromkeys(maps) if n in before(self._tap, seen))
        self.num_classes, self.head_kind = head.num_classes, head.kind
        self.heads["softmax"] = head
        if head.num_classes == 1 and reads.score is None:
            make_binary(self)
        elif self.multi_label or head.num_classes == 1:
            self.activation = "sigmoid"
        self.freeze()

    def features(self, images: Tensor) -> Tensor:
        """Target feature map (B,N,P,Q) of normalised images (B,C,R,R), behind the head's context if it has any."""
        images = self.at_own_size(images)
        features = self.body.read(images, self._tap)
        return packed(images, features) if self.through_network else features

    def lacks(self, part: Literal["attention", "semantic", "layer_logits"]) -> str | None:
        """As of ``Backbone``: hooks at one layer read none of these."""
        del part
        return "it is read at one layer by hooks, which see no attention; timm's transformers give theirs (timm:NAME)"

    def _copied(self, model: nn.Module, reads: Reads, probe: Tensor) -> CalledNetwork:
        pick = reads.score or reads.logits or logits_in
        used = [model, *modules_in(pick), *modules_in(reads.inputs)]

        def called(memo: Copies) -> CalledNetwork:
            swap = swapped_for(memo)
            return CalledNetwork(swap(model), rebound(reads.inputs, swap), rebound(pick, swap))

        return called(own_copies(used, self.name, lambda memo: tried(called(memo), probe)))

    def _checked_logits(self, probe: Tensor, reads: Reads) -> Tensor:
        size = "×".join(map(str, probe.shape))
        what = "score" if reads.score else "logits"
        try:
            out = self.body.output(probe.clone())
        except Exception as error:
            raise unsupported(
                self.name,
                f"it fails on images of shape {size} ({type(error).__name__}: {error}); give input_size=…, mean=… and "
                "std=… of its channels, or inputs=… if it is called with more than the images",
            ) from error
        try:
            logits: Any = self.body.picked(out, len(probe))
        except NoLogitsError as error:
            raise unsupported(self.name, f"{error}; {advice_on(out)}") from error
        except Exception as error:
            raise unsupported(
                self.name, f"{what} fails on what it returns, {described(out)} ({type(error).__name__}: {error})"
            ) from error
        if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != len(probe):
            if isinstance(out, tuple | list) and not (reads.logits or reads.score):
                raise unsupported(
                    self.name,
                    f"it returns {listed(out)}, and the first is taken for its logits (2,C), which it is not; "
                    f"{advice_on(out)}",
                )
            raise unsupported(
                self.name,
                f"its {what} are {described(logits)} for two images, expected (2,C); for maps of classes or boxes give "
                "score=…, a function of what it returns to (B,C)",
            )
        if not logits.is_floating_point():
            kind = str(logits.dtype).removeprefix("torch.")
            raise unsupported(self.name, f"its {what} are {kind}; give real numbers, as they are before any argmax")
        if not logits.isfinite().all():
            odd = not_finite(self.body.net)
            held = f": its weights hold them, in {', '.join(odd[:3])}" if odd else " of an image of noise"
            raise unsupported(self.name, f"its {what} are not finite (NaN, ∞){held}")
        if logits.shape[1] == 1 and bool((logits == 1).all()):
            raise unsupported(
                self.name,
                f"its {what} are 1 for every image, as a softmax over one class is; give what stands before it",
            )
        check_names(self, logits.shape[1])
        if not (reads.logits or reads.score) and passed_over(out, len(probe)):
            warnings.warn(
                f"{self.name} returns {listed(out)}: the first is read as its logits; another one with "
                "logits=lambda out: out[…]",
                UserWarning,
                stacklevel=6,
            )
        made: Tensor = logits
        return made

    def _find_tap(self, model: nn.Module, reads: Reads, probe: Tensor, seen: Sequence[Call]) -> ReadPoint:
        if reads.layer is None:
            if reads.score is not None:
                raise unsupported(self.name, "score=… needs layer=…, the name of the layer whose map is drawn")
            return chosen_tap(self.body, probe, reads.prefix_tokens, self.name)
        given: Any = reads.layer
        if isinstance(given, tuple | list) and len(given) == 1:
            given = given[0]
        if not isinstance(given, str | nn.Module):
            more = f" of {len(given)}" if isinstance(given, tuple | list) else f" {given!r}"
            raise unsupported(
                self.name, f"layer is a {type(given).__name__}{more}; give one layer, by its name or the module itself"
            )
        if isinstance(given, nn.Module):
            inner = unwrapped(given)
            named = [n for n, m in unwrapped(model).named_modules() if n and unwrapped(m) is inner]
            if not named:
                raise unsupported(self.name, f"layer={type(given).__name__}(…) is no module of it; give its name")
            given = named[0]
        return tap_at(layer_name(self.body.net, given, self.name), seen, reads.prefix_tokens, self.name)

    def _check_dependence(self, probe: Tensor, features: Tensor, reads: Reads) -> None:
        if reads.layer is None or depends(self.body, probe, features, self._tap, self.name):
            return
        advice = "name another layer"
        if reads.score is None:
            try:
                other = chosen_tap(self.body, probe, reads.prefix_tokens, self.name)
                advice = f"name layer={other.layer!r}"
            except UnsupportedNetworkError:
                pass
        raise unsupported(
            self.name,
            f"what it returns does not depend on the map of {self._tap.layer} (patches behind the last attention of a "
            f"class-token network reach no logit), so every map would be empty; {advice}",
        )

    def _raw(self, seen: Sequence[Call]) -> Tensor:
        raw = first_tensor(seen[place_of(self._tap, seen)].output)
        assert raw is not None
        return raw

    def _head_for(self, probe: Tensor, features: Tensor, logits: Tensor, seen: Sequence[Call]) -> Head:
        """GAP + linear where the logits say so, else the rest of the network, with or without its images."""
        classes = logits.shape[1]
        trial = trial_like(features)
        at = place_of(self._tap, seen)
        after = {c.name: c for c in seen[at:] if is_classifier(c.module, classes)}
        called = {c.name for c in seen}
        # A function may use the weights of a layer that is not called itself.
        idle = [m for n, m in self.body.net.named_modules() if n not in called and is_classifier(m, classes)]
        wanted = self.body.replaced(probe, trial, self._tap)
        for module in (*(c.module for c in after.values()), *idle):
            gap = gap_linear_of(module).to(features.device)
            fits = gap.linear.in_features == features.shape[1] and bool(gap.linear.weight.any())
            if fits and close(gap(features), logits) and close(gap(trial), wanted):
                return gap.eval()
        last = next((n for n, c in reversed(after.items()) if _gives(c, logits)), None)
        image, shape = tuple(probe.shape[1:]), tuple(features.shape[1:])
        others = probe_images(probe.shape[-1], self.image_channels, seed=2).to(probe)
        alone = close(self.body.replaced(others, features, self._tap), logits)
        rest = partial(RestOfNetwork, self.body, self._tap, image, shape, classes, last)  # type: ignore[arg-type]
        if alone:
            head = rest(layers_before(self._tap, seen))
            if _gives_same(head, [(features, logits), (trial, wanted)]):
                return head.eval()
        return rest(None).eval()


def check_names(network: Backbone, logits: int) -> None:
    """Raise ``UnsupportedNetworkError`` where there are class names, and not those of so many logits (of one: 1, 2)."""
    names = len(network.class_names)
    if names and names != logits and (logits, names) != (1, 2):
        raise unsupported(network.name, f"{names} class names for {logits} logits")


def _gives(call: Call, logits: Tensor) -> bool:
    made = first_tensor(call.output)
    return made is not None and close(made, logits)


def _gives_same(head: Head, pairs: Sequence[tuple[Tensor, Tensor]]) -> bool:
    try:
        return all(close(head(features), wanted) for features, wanted in pairs)
    except Exception:  # the network's own code, on zeros in the place of what its layers return
        return False
