"""Host copies: complete after ``wait``, and on the CPU no copies at all."""

import pytest
import torch

from cambench.metrics.functional.host_copies import HostCopies


def test_on_the_host_nothing_is_copied():
    tensors = {"a": torch.arange(6.0).view(2, 3), "b": torch.zeros(0, dtype=torch.uint8)}
    copies = HostCopies(tensors).wait()
    assert copies.keys() == tensors.keys()
    assert all(copies[name].data_ptr() == tensors[name].data_ptr() for name in tensors)


def test_a_graph_is_left_behind():
    assert not HostCopies({"a": torch.ones(2, requires_grad=True)}).wait()["a"].requires_grad


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_copies_from_a_device_wait_for_their_values():
    big = torch.randn(4096, 4096, device="cuda")
    product = big @ big
    copies = HostCopies({"a": product, "b": product.argmax(1)})
    later = product.zero_()
    found = copies.wait()
    assert found["a"].is_pinned()
    assert torch.equal(found["a"], (big @ big).cpu())
    assert torch.equal(found["b"], (big @ big).argmax(1).cpu())
    assert not later.any()
