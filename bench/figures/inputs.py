"""What the figures of maps start from: chosen images of a data set, and networks with every branch they read."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import numpy as np

from ...baselines.contracts import Backbone, Branch
from ...datasets.batches import load_batches
from ...datasets.schema import Batch, SampleTable
from ..engine.head_keeper import HeadKeeper, take_heads
from ..engine.networks import check_labels, open_network
from ..engine.planning.given import HEAD_BRANCHES, resolve_heads
from ..host.errors import RunError, UsageError
from .figure_request import FigureRequest


def chosen_batch(request: FigureRequest, table: SampleTable, size: int, crop_from: int | None = None) -> Batch:
    """The chosen images, decoded at R×R (``load_batches``), without masks; those that cannot be read are left out.

    Raises:
        UsageError: An id that no image, or more than one, ends with.
        RunError: None of the images can be read.
    """
    rows = [_row(table, i) for i in request.image] if request.image else _drawn(table, request.count, request.seed)
    found = load_batches(table, rows, size, max(len(rows), 1), request.workers, masks=False, crop_from=crop_from)
    batch = next(found, None)
    if batch is None or not len(batch):
        why = f": {batch.failures[0].reason}" if batch is not None and batch.failures else ""
        raise RunError(f"{table.name} {table.split}: none of the chosen images can be read{why}")
    return batch


def ready_networks(
    request: FigureRequest,
    names: Sequence[str],
    table: SampleTable,
    branches_of: Callable[[str, Backbone], Collection[Branch]],
) -> Iterator[tuple[str, Backbone]]:
    """Frozen networks on their device with every branch that is read, one after the other.

    The branches are those of the network's weights, of a file or of a run, or trained now, as in a run; all that is
    given is read before the first one is trained.

    Args:
        request: Data, files, device. names: The networks. table: The split.
        branches_of: What is read of a network, beside the softmax branch, which decides the class; a network of which
            nothing is read is left out.

    Raises:
        UsageError: The run has no such branch, or another network's. Also as ``open_network`` and ``HeadKeeper``.
    """
    only_one = len(names) == 1
    with tempfile.TemporaryDirectory(prefix="cambench-") as folder:
        config = request.config(["*/*/*"], Path(folder))
        networks = {name: open_network(name, table, config, only_one) for name in names}
        read = {name: found for name in names if (found := branches_of(name, networks[name]))}
        branches: dict[str, list[Branch]] = {
            name: ["softmax", *(b for b in HEAD_BRANCHES if b in found)] for name, found in read.items()
        }
        keeper = HeadKeeper(config, table, request.where, resolve_heads(config, branches, only_one=only_one))
        for name in read:
            given = keeper.take(name, networks[name], branches[name])
            if request.run is not None:
                take_heads(request.run, name, networks[name], [b for b in branches[name] if b not in given])
            check_labels(networks[name], table, name)
        for name in read:
            network = networks.pop(name).to(request.where)
            keeper.ensure(name, network, branches[name])
            yield name, network.to(request.where).freeze()


def _row(table: SampleTable, wanted: str) -> int:
    ids = table.rows["image_id"][:]
    exact = [row for row, i in enumerate(ids) if i == wanted]
    found = exact or [row for row, i in enumerate(ids) if i.endswith(wanted) or Path(i).stem == wanted]
    if len(found) != 1:
        what = f"{len(found)} images end so: {', '.join(ids[r] for r in found[:3])} …" if found else "no such image"
        raise UsageError(f"--image {wanted!r}: {what} in {table.name} {table.split} (ids such as {ids[0]!r})")
    return found[0]


def _drawn(table: SampleTable, count: int, seed: int) -> list[int]:
    if not len(table):
        raise RunError(f"{table.name} {table.split} has no images")
    order = np.random.default_rng(seed).permutation(len(table))
    return sorted(order[:count].tolist())
