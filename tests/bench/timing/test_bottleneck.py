"""The line that names what bounds a run: hand-computed costs."""

import pytest

from cambench.bench.timing.bottleneck import bottleneck

STAGES = {"forward": 2.0, "fidelity": 5.0, "boxes": 4.0, "load": 99.0}


@pytest.mark.parametrize(
    ("change", "decode", "shared", "expected"),
    [
        # Beside the device: 7 ms of it, 1 ms of boxes on each of four threads, 1 ms of decoding.
        (
            {},
            1.0,
            False,
            "bound by fidelity: 143 images/s; if it were free, 500; --compile kernels, --no-fidelity",
        ),
        (
            {"forward": 20.0},
            1.0,
            False,
            "bound by forward: 40 images/s; if it were free, 200; --compile kernels",
        ),
        ({}, 10.0, False, "bound by decode: 100 images/s; if it were free, 143; --workers"),
        ({"boxes": 80.0}, 10.0, False, "bound by boxes: 50 images/s; if it were free, 100; --box-engine"),
        # The same cores for all: 2 + 5 + 4/4 + 1 ms.
        ({}, 1.0, True, "bound by fidelity: 111 images/s; if it were free, 250; --compile kernels, --no-fidelity"),
        ({"maps": 30.0}, 1.0, True, "bound by maps: 26 images/s; if it were free, 111; --triples with cheaper methods"),
    ],
)
def test_the_line_names_what_would_gain_most(change, decode, shared, expected):
    assert bottleneck({**STAGES, **change}, decode, 4, shared=shared).startswith(expected)


def test_what_is_on_already_is_not_advised():
    said = [bottleneck({**STAGES, **change}, 1.0, 4, shared=False, compiled=True) for change in ({}, {"forward": 20.0})]
    assert [line.split("; ")[2][:16] for line in said] == ["--no-fidelity fo", "--device cuda, o"]
