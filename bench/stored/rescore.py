"""Stored score maps scored under another protocol, without a network: equal to a fresh run under it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from ...baselines.cams import CAMS, CamMethod, Evidence
from ...baselines.contracts import HeadSpec
from ...datasets.batches import load_batches
from ...datasets.schema import Batch, ImageFailure, SampleTable
from ...metrics import METRICS, MetricSpec
from ...progress import progress
from ...protocol import PROTOCOLS, Protocol
from ...results.records.columns import MAP, Array, empty_columns
from ...results.records.described import CamRecord
from ...results.records.load import Run, load_run
from ...results.records.manifest import RunManifest
from ...results.records.store import RunStore
from ...results.scores import merge_runs
from ...results.statistics import Standing, standing
from ...results.tables.leaderboard import write_tables
from ...triple import Triple
from ...version import __version__
from ..engine.again import REQUEST
from ..engine.scoring.clock import StageClock
from ..engine.scoring.measures import measures_key
from ..engine.scoring.onepass import OnePass
from ..engine.scoring.reading import ScoreMap, folder_score_map, signed_score_map
from ..engine.scoring.scope import Columns, Rows, Scoring
from ..engine.scoring.without_network import BareReading
from ..host.errors import RunError
from ..maps.map_folder import MapFolder
from .fitting import Fitting, fitting
from .stored_maps import given_again, open_data, stored_of
from .stored_requests import RescoreRequest

FROM_RUN = ("predicted", "target", "y", "o")
"""Columns that the network decided, taken from the run as they are."""


@dataclass(frozen=True)
class Rescored:
    """Records under another protocol: ``records``, the ``paths`` that were written, and what was ``said``.

    ``standing``: the statistics of its tables.
    """

    records: Run
    paths: tuple[Path, ...]
    said: tuple[str, ...]
    standing: Standing | None = None


def rescore(request: RescoreRequest, say: Callable[[str], None] = lambda _: None) -> Rescored:
    """Score a run's stored maps under another protocol.

    Localisation, pixel and evidence scores and the metrics that need no forward are computed anew; the prediction, and
    Y and O where the protocol leaves the fidelity fields as they were, are the run's. The records are those of a fresh
    run under the protocol, to the bit, and may share a table with one.

    Raises:
        RunError: The maps are not stored, or not enough for the protocol (another frame, another class, negative
            values that were dropped, another version of cambench).
        UsageError, UnknownNameError, DatasetError, ResultsError: Wrong names, data or folders.
    """
    run = load_run(request.run)
    if run.manifest.code_version != __version__:
        raise RunError(
            f"{request.run} was written by cambench {run.manifest.code_version}; this is {__version__}, whose scores "
            "may be others: compute the run again"
        )
    protocol = PROTOCOLS.get(request.protocol)
    table = open_data(run, request.root)
    files = given_again(run, table, request.maps)
    run, triples, without = stored_of(run, request.triples, files)
    fit = fitting(run, triples, protocol, files)
    said = [f"{t}: its maps are not stored; left out{files.why(t.cam)}" for t in without]
    said += [f"{t}: left out: {why}" for t, why in fit.left_out.items()] + fit.said
    measures, lost = _measures(run)
    said += [f"metric {name}: left out: {why}" for name, why in lost.items()]
    for line in said:
        say(line)
    for cam in dict.fromkeys(t.cam for t in fit.triples):
        _stand_in(cam, run.manifest.cams.get(cam))
    manifest = _manifest(run, fit, protocol, measures, said)
    begun = time.monotonic()
    with RunStore.open(request.out, manifest) as store:
        for name in dict.fromkeys(t.backbone for t in fit.triples):
            _Backbone(run, store, table, name, (fit, measures, files.found), request).run()
        store.finish(durations_s={"total": time.monotonic() - begun})
    records, about = load_run(request.out), request.out / "run.json"
    if protocol.loc_threshold == "val":
        return Rescored(records, (about,), tuple(said))
    merged = merge_runs([records])
    stats = standing(merged)
    return Rescored(records, (about, *write_tables(merged, stats)), tuple(said), stats)


def _measures(run: Run) -> tuple[tuple[MetricSpec, ...], dict[str, str]]:
    """The run's per-image metrics that need no forward, and why the others are left out."""
    kept, lost = [], {}
    for name in run.manifest.metrics:
        spec = METRICS.get(name) if name in METRICS else None
        if spec is None or spec.per_image is None:
            lost[name] = "it is not registered here; give its file with --plugin"
        elif "forwards" in spec.needs:
            lost[name] = "it scores images, and the network is needed"
        else:
            kept.append(spec)
    return tuple(kept), lost


def _stand_in(name: str, about: CamRecord | None) -> None:
    """A method of the run that is not registered here (a plug-in's, maps made elsewhere): its maps are there."""
    if name in CAMS:
        return

    def drawn(evidence: Evidence) -> torch.Tensor:
        raise NotImplementedError(f"{name} is known by its stored maps only")

    about = about or CamRecord()
    method = CamMethod(
        name, drawn, about.title or name, about.source, frozenset(), "mask" if about.finished else "map", named=True
    )
    CAMS.add(name, method, origin=__name__)


def _manifest(
    run: Run, fit: Fitting, protocol: Protocol, measures: Sequence[MetricSpec], said: Sequence[str]
) -> RunManifest:
    old, canonical = run.manifest, {t: run.manifest.canonical(t) for t in fit.triples}
    first: dict[Triple, Triple] = {}
    # The first triple of a record that stays keeps it for the others.
    homes = {t: first.setdefault(c, c if c in canonical else t) for t, c in canonical.items()}
    aliases = {t: home for t, home in homes.items() if home != t}
    names = {t.backbone for t in fit.triples}
    settings = {name: value for name, value in old.settings.items() if name not in (REQUEST, "notes", "command")}
    return old.model_copy(
        update={
            "protocol": protocol,
            "options": old.options | {"metrics": measures_key(measures)},
            "triples": list(fit.triples),
            "aliases": aliases,
            "identities": {t: old.identities.get(t, f"its maps are those of {home}") for t, home in aliases.items()},
            "skipped": old.skipped | fit.left_out,
            "backbones": {name: record for name, record in old.backbones.items() if name in names},
            "metrics": {spec.name: old.metrics[spec.name] for spec in measures},
            "settings": settings | {"rescored": {"from": str(run.out), "left_out": list(said)}},
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "durations_s": {},
            "timings": type(old.timings)(),
            "failures": [],
            "finished": False,
        },
        deep=True,
    )


class _Backbone:
    """The stored maps of one backbone, shard by shard."""

    _rows: dict[int, int]

    def __init__(
        self,
        run: Run,
        store: RunStore,
        table: SampleTable,
        name: str,
        what: tuple[Fitting, Sequence[MetricSpec], Mapping[str, MapFolder]],
        request: RescoreRequest,
    ) -> None:
        fit, measures, self._files = what
        self._run, self._store, self._table, self._name, self._request = run, store, table, name, request
        self._fidelity = fit.fidelity
        self._triples = list(dict.fromkeys(store.manifest.canonical(t) for t in fit.triples if t.backbone == name))
        self._by = {(t.cam, t.head): t for t in self._triples}
        self._stored: dict[Triple, dict[str, Array]] = {}
        self._place: dict[str, int] = {}
        self._scoring = Scoring(
            iou_thresholds=store.manifest.hit_thresholds,
            has_boxes=table.has_boxes,
            measures=tuple(measures),
            map_bytes=float("inf"),
            box_threads=request.box_threads,
        )

    def run(self) -> None:
        """Score what is not on disk."""
        manifest, device = self._store.manifest, torch.device("cpu")
        engine = OnePass(
            BareReading(manifest.protocol, device, self._maps_of), self._triples, self._scoring, StageClock(device)
        )
        try:
            with progress(f"{self._name}: {len(self._triples)} stored maps", manifest.dataset.rows) as bar:
                for shard in range(manifest.shards):
                    rows = manifest.rows_of(shard)
                    if self._store.lacking(self._name, shard, self._triples):
                        self._shard(engine, shard, rows)
                    bar.advance(len(rows))
        finally:
            engine.close()

    def _shard(self, engine: OnePass, shard: int, rows: range) -> None:
        self._read(rows)
        failures: list[ImageFailure] = []

        def batches() -> Iterator[Batch]:
            rules, request = self._store.manifest.protocol, self._request
            kept = [row for row in rows if row in self._rows]
            failures.extend(ImageFailure(f.image_id, f.index, f.reason) for f in self._run.failures if f.index in rows)
            found = load_batches(
                self._table, kept, rules.size, request.batch_size, request.workers, crop_from=rules.crop_from
            )
            for batch in found:
                failures.extend(batch.failures)
                yield batch

        pieces = list(engine.over(batches()))
        if engine.lost:
            raise RunError("; ".join(f"{what}: {why}" for what, why in engine.lost.items()))
        joined = {str(t): self._joined(t, pieces) for t in self._triples}
        self._store.write_shard(self._name, shard, joined, failures)

    def _read(self, rows: range) -> None:
        """The stored columns of a shard."""
        self._rows = {}
        for triple in self._triples:
            wanted = ["image_id", "index", "target"]
            network = ("predicted", "y", "o") if self._fidelity else ("predicted",)
            wanted += [n for n in (MAP, *network) if n in self._run.columns(triple)]
            found = next(self._run_of(rows).batches(triple, wanted), None)
            self._stored[triple] = found or {}
            if found is not None:
                self._place = {str(i): k for k, i in enumerate(found["image_id"])}
                self._rows = {int(i): k for k, i in enumerate(found["index"])}

    def _run_of(self, rows: range) -> Run:
        index = self._run.index
        return replace(self._run, index=index[(index >= rows.start) & (index < rows.stop)])

    def _maps_of(self, method: CamMethod, head: HeadSpec, image_ids: Sequence[str]) -> ScoreMap:
        stored = self._stored[self._by[method.name, head.name]].get(MAP)
        protocol = self._store.manifest.protocol
        if (folder := self._files.get(method.name)) is not None:
            drawn = folder_score_map(method, folder, image_ids, torch.device("cpu"), protocol)
            # What the run stored of them, its records hold too.
            return drawn if stored is not None or drawn.stored is None else replace(drawn, kept=False)
        assert stored is not None
        maps = np.stack([stored[self._place[i]] for i in image_ids])
        return replace(signed_score_map(method, torch.from_numpy(maps), protocol), exact=True)

    def _joined(self, triple: Triple, pieces: Sequence[Rows]) -> Mapping[str, Array]:
        if not pieces:
            return empty_columns(self._store.manifest)
        columns: Columns = {
            name: np.concatenate([piece[triple][name] for piece in pieces]) for name in pieces[0][triple]
        }
        at = [self._rows[int(i)] for i in columns["index"]]
        stored = self._stored[triple]
        return columns | {name: stored[name][at] for name in FROM_RUN if name in stored}
