"""A finished run in a notebook: leaderboard, per-image records, comparisons; all from its records alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ...results.records.load import Run, load_run
from ...results.records.run_folder import TABLES_NAME
from ...results.scores import merge_runs
from ...results.statistics import RESAMPLES, Standing, standing
from ...results.statistics import compare as compare_pairs
from ...results.tables.leaderboard import write_leaderboard
from ...text import number_of
from ...triple import Triple
from .compare_options import CompareOptions
from .pairs import pairs_of, sorted_out
from .tables import Leaderboard, PairedComparison

if TYPE_CHECKING:
    from .drawn_classes import Target
    from .explanation import Explanation
    from .pictures import Images


@dataclass(frozen=True)
class RunResult:
    """A finished run: its records, and what follows from them.

    Attributes:
        run: The records, by triple and column.
        paths: Files that the run wrote: ``run.json`` and the leaderboards.
        others_at_work: Of several processes that share the run others go on: the last of them writes the leaderboards.
        standing: The statistics of the leaderboards, where this process made them.
    """

    run: Run
    paths: tuple[Path, ...] = ()
    others_at_work: bool = False
    standing: Standing | None = field(default=None, repr=False, compare=False)

    @property
    def out(self) -> Path:
        """The run's folder."""
        return self.run.out

    @property
    def triples(self) -> list[str]:
        """Triples with records, in table order."""
        return list(self.run.triples)

    def leaderboard(
        self,
        *,
        val: RunResult | str | Path | None = None,
        intervals: bool = True,
        resamples: int = RESAMPLES,
        seed: int = 0,
    ) -> Leaderboard:
        """Score tables, from the records.

        Args:
            val: Run of the val split, for a protocol that chooses its location threshold there.
            intervals: Add 95 % intervals, significance marks and ranks.
            resamples: Bootstrap resamples. seed: Of the draws.

        Raises:
            RecordError: Records are damaged, no image has a record of every triple, or the val run is missing.
            MergeError: The val run is of another protocol or data set.
        """
        merged = merge_runs([self.run], [] if val is None else [_run(val)])
        if intervals and val is None and (resamples, seed) == (RESAMPLES, 0) and self.standing is not None:
            return Leaderboard(merged, self.standing)
        return Leaderboard(merged, standing(merged, resamples=resamples, seed=seed) if intervals else None)

    def records(self, triple: str | None = None) -> pd.DataFrame:
        """One row for each image and triple: the columns of one number per image, in the order of the data set.

        Columns ``triple``, ``backbone``, ``cam``, ``head``; then ``image_id``, ``index``, ``label``, ``predicted``,
        ``correct``, ``target``, flags, fidelity scores ``y`` and ``o``, and a column a per-image metric. Hit bits and
        histograms are in ``run.column``.

        Args:
            triple: One triple; all of the run where None.

        Raises:
            KeyError: The run has no such triple. RecordError: A part is damaged.
        """
        parts = []
        for name in self.triples if triple is None else [triple]:
            part = self.run.records(name)
            for place, (column, value) in enumerate(
                zip(("triple", "backbone", "cam", "head"), (name, *Triple.parse(name).names), strict=True)
            ):
                part.insert(place, column, value)
            parts.append(part)
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()

    def compare(self, a: str, b: str, **options: Any) -> PairedComparison:
        """Is triple ``b`` better than ``a``? Differences are b − a. Keywords and errors as ``cambench.compare``."""
        return compare(self, a, b, **options)

    def explain(
        self,
        triple: str,
        images: Images,
        *,
        target: Target = None,
        tau: float | None = None,
        weights: str | Path | None = None,
        device: str = "auto",
    ) -> Explanation:
        """Maps of one of the run's triples on any pictures: the run's heads, protocol, precision and class names.

        Args:
            triple: ``backbone/cam/head`` of this run.
            images: As for ``cambench.explain``. target: So, too. tau: So, too. device: So, too.
            weights: The network's weights file, where the run was given one.

        Raises:
            KeyError: The run has no such triple. Otherwise as ``cambench.explain``.
        """
        from .explain import explain

        if triple not in self.run.triples:
            raise KeyError(f"{self.out} has no records of {triple}; it has {', '.join(self.triples) or 'none'}")
        backbone, cam, head = Triple.parse(triple).names
        return explain(
            backbone,
            images,
            cam,
            head,
            run=self.out,
            target=target,
            tau=tau,
            weights=weights,
            device=device,
        )

    def save_leaderboard(self, dest: str | Path) -> list[Path]:
        """Write the tables (Markdown, LaTeX, CSV) into a folder; returns the files."""
        return write_leaderboard([self.run], dest)

    def __repr__(self) -> str:
        data, images = self.run.manifest.dataset, len(self.run.index)
        where = f"{self.out}, {data.name} {data.split}, protocol {self.run.manifest.protocol.name}"
        return f"RunResult({where}, {number_of(len(self.triples), 'triple')}, {number_of(images, 'image')})"

    def _repr_html_(self) -> str:
        return self.leaderboard()._repr_html_()


def load(out: str | Path) -> RunResult:
    """The result of a finished (or unfinished) run from its folder, as ``cambench.run`` returns it.

    Raises:
        RecordError: ``out`` is no run folder, or its ``run.json`` is damaged or of another schema version.
    """
    run = load_run(out)
    tables = [f"{TABLES_NAME}/{name}" for name in ("leaderboard.md", "leaderboard.tex", "scores.csv")]
    files = [Path(out) / name for name in ("run.json", *tables)]
    return RunResult(run, tuple(f for f in files if f.is_file()))


def compare(
    *what: RunResult | str | Path,
    val: Sequence[RunResult | str | Path] = (),
    all_pairs: bool = False,
    **options: Any,
) -> PairedComparison:
    """Compare triples of one run, or runs with each other, on the same images; as ``cambench compare``.

    Args:
        *what: Runs (results or folders) and triples of theirs (patterns are allowed). One run and triples: the first
            triple with each other one. Several runs: each triple that they share, the first run with each other one.
        val: Runs of the val split, one or one for each run: they choose the location threshold of a protocol that takes
            it from there, and add the threshold transfer.
        all_pairs: Any two, not only the first with each other.
        **options: Fields of ``CompareOptions``: ``metrics`` (what the comparison is made for: these alone are tested,
            and corrected for; default: all), ``by`` (metric of the image and class lists), ``intersect``, ``images``
            (listed on either side), ``resamples``, ``seed``, ``level`` (of the intervals), ``alpha`` (of the verdicts).

    Raises:
        UsageError, UnknownNameError: What is compared cannot be made out; the message says why.
        CompareError: The runs differ in protocol, data set or images; the message says how.
        RecordError: Records are damaged or cannot be scored.
    """
    choices = CompareOptions.create(**options).choices
    runs, patterns = sorted_out([_run(w) if isinstance(w, RunResult) else w for w in what])
    return PairedComparison(compare_pairs(pairs_of(runs, patterns, [_run(v) for v in val], all_pairs), choices))


def _run(result: RunResult | str | Path) -> Run:
    return result.run if isinstance(result, RunResult) else load_run(result)
