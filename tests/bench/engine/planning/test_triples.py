"""Triple patterns: globs, braces, controls, readable refusals."""

import pytest

from cambench.bench.engine.planning.triples import expand_patterns
from cambench.bench.host.errors import UsageError
from cambench.registry import UnknownNameError
from cambench.triple import Triple


def names(*patterns):
    return [str(w.triple) for w in expand_patterns(patterns)]


def test_braces_and_globs():
    assert names("slim_resnet/{gradcam,layercam}/sigmoid*") == [
        "slim_resnet/gradcam/sigmoid",
        "slim_resnet/gradcam/sigmoid_signed",
        "slim_resnet/layercam/sigmoid",
        "slim_resnet/layercam/sigmoid_signed",
    ]


def test_controls_are_listed_once_under_softmax():
    found = names("slim_resnet/{gradcam,center}/*")
    assert [t for t in found if "center" in t] == ["slim_resnet/center/softmax"]
    assert sum("gradcam" in t for t in found) == 4
    with pytest.raises(UsageError, match="center depends on no head; write slim_resnet/center/softmax"):
        names("slim_resnet/center/sigmoid")


def test_explicit_triples_are_marked():
    wanted = {str(w.triple): w.explicit for w in expand_patterns(["slim_vgg/cam/softmax", "*/gradcam/sigmoid"])}
    assert wanted["slim_vgg/cam/softmax"]
    assert not wanted["slim_vgg/gradcam/sigmoid"]


def test_repeats_are_dropped_and_order_is_kept():
    assert names("slim_vgg/gradcam/sigmoid", "slim_vgg/gradcam/{softmax,sigmoid}") == [
        "slim_vgg/gradcam/sigmoid",
        "slim_vgg/gradcam/softmax",
    ]


def test_timm_names_are_open_ended():
    assert expand_patterns(["timm:resnet18/gradcam/softmax"])[0].triple == Triple("timm:resnet18", "gradcam", "softmax")


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("slim_vgg/gradcam", "backbone/cam/head"), ("a//b", "backbone/cam/head"), ("{a/b/c", "not closed")],
)
def test_malformed_patterns(pattern, message):
    with pytest.raises(UsageError, match=message):
        names(pattern)


def test_unknown_names_come_with_the_nearest():
    with pytest.raises(UnknownNameError, match="unknown CAM method 'gradcm'; did you mean"):
        names("slim_vgg/gradcm/softmax")
    with pytest.raises(UnknownNameError, match="did you mean 'slim_resnet'"):
        names("slim_resnt/gradcam/softmax")


def test_a_glob_leaves_out_expensive_methods_and_a_name_does_not():
    assert not [t for t in names("slim_resnet/*/softmax") if "/rise/" in t or "/sscam/" in t]
    assert names("slim_resnet/{rise,gradcam}/softmax") == ["slim_resnet/rise/softmax", "slim_resnet/gradcam/softmax"]
