"""Patterns and triples as people mistype them: the right answer, or one of the product's own errors."""

import string

import pytest
from fuzzing import ended, examples, search
from hypothesis import strategies as st

from cambench.bench.engine.planning.triples import expand_patterns
from cambench.bench.engine.planning.words import check_triples, timm_names
from cambench.bench.host.errors import UsageError
from cambench.registry import RegistryError, expand_braces


@pytest.mark.parametrize(
    "pattern", ["'}../ '", "}{a}", "{" * 500 + "}" * 500, "{a,b}" * 30, "{{a,b}", "a}", "{" + "a," * 20_000 + "}"]
)
def test_braces_that_mean_nothing_are_refused(pattern):
    with pytest.raises(RegistryError):
        expand_braces(pattern)
    with pytest.raises(UsageError):
        check_triples([pattern])


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("gradcam/sigmoid/slim_vgg", "write slim_vgg/gradcam/sigmoid"),
        ("softmax/slim_vgg/cam", "write slim_vgg/cam/softmax"),
        ("resnet18/gradcam/softmax", "write timm:resnet18/gradcam/softmax"),
        ("slim_vgg/gradcam", "expected backbone/cam/head"),
    ],
)
def test_a_mistake_leads_on(pattern, said):
    for ask in (check_triples, expand_patterns):
        with pytest.raises(UsageError) as caught:
            ask([pattern])
        assert said in str(caught.value)


def test_the_names_of_timm_are_those_that_it_lists():
    timm = pytest.importorskip("timm")
    assert set(timm.list_models()) <= timm_names()


PIECES = st.sampled_from(
    ["slim_vgg", "slim_*", "gradcam", "cam", "*", "softmax", "sigmoid", "{a,b}", "{softmax,sigmoid}"]
)
PATTERNS = st.lists(PIECES | st.text(alphabet=string.printable, max_size=6), min_size=1, max_size=5).map("/".join)


def checked(pattern):
    found = ended(lambda: expand_patterns([pattern]))
    assert found is None or all(w.triple.count("/") >= 2 for w in found)


@examples(80, 5000)
def test_any_pattern_is_expanded_or_refused(examples):
    search(examples, checked, pattern=PATTERNS | st.text(alphabet="{},/*[]!ab", max_size=40))
