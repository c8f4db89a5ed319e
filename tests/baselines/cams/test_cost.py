import pytest

from cambench.baselines.cams.cost import Cost, CostError
from cambench.baselines.cams.method import CAMS, CamMethod


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("1 forward", {"forward": 1}),
        ("0 forwards", {"forward": 0}),
        ("1 + N forwards", {"forward": 513}),
        ("1 + 10·N forwards", {"forward": 5121}),
        ("1 + P·Q forwards", {"forward": 36}),
        ("1 + 4 forwards + 4 head backwards; less on a GAP + linear head", {"forward": 5, "head backward": 4}),
        ("3×(1 + 20) forwards + 20 backwards", {"forward": 63, "backward": 20}),
        ("1 forward + N head forwards", {"forward": 1, "head forward": 512}),
    ],
)
def test_formulas_are_read_and_evaluated(text, counts):
    assert Cost.parse(text).evaluate(512, 5, 7) == counts


def test_a_backward_counts_as_two_forwards_and_head_passes_as_none():
    assert Cost.parse("1 + 4 forwards + 4 backwards + 9 head backwards").forwards(8, 7, 7) == 13


@pytest.mark.parametrize(
    "text",
    [
        *("", "shared pass", "forwards", "1 forward and more", "M forwards", "1/2 forwards", "1 forward + 1 forward"),
        *("__import__('os') forwards", "(1 forwards", "2**9 forwards"),
    ],
)
def test_what_is_no_formula_is_refused(text):
    with pytest.raises(CostError, match="cost"):
        Cost.parse(text)


def test_every_built_in_method_declares_a_formula():
    for name in CAMS.names():
        method = CAMS.get(name)
        if method.fn.__module__.startswith("cambench."):
            Cost.parse(method.declared_cost)


def test_the_cost_follows_from_needs_where_the_shared_pass_covers_them():
    def method(*needs, **facts):
        return CamMethod("x", lambda e: e.features, "X", "", frozenset(needs), **facts).declared_cost

    assert method("features", "gradients") == "1 forward + 1 head backward"
    assert method("features", "class_weights") == "1 forward"
    assert method() == "0 forwards"
    assert method("features", "rescoring") == ""
    assert method("features", "rescoring", cost="7 forwards") == "7 forwards"


def test_passes_of_a_head_that_runs_the_network_are_passes_of_the_network():
    """One forward to the layer, then the network's own forward and backward: 1 + 1 + 2."""
    cost = Cost.parse("1 forward + 1 network backward; remark")
    assert cost.evaluate(8, 7, 7) == {"forward": 1, "network backward": 1}
    assert cost.forwards(8, 7, 7) == 4
    assert Cost.parse("1 forward + N network forwards").forwards(8, 7, 7) == 9
