"""Tables of a finished run or of a comparison, as a notebook shows them and as data frames."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from ...results.scores import Merged
from ...results.statistics import Comparison, Standing
from ...results.tables.compare_table import CLASSES, compare_csv, compare_document
from ...results.tables.grid import Document, to_csv, to_markdown
from ...results.tables.html import to_html
from ...results.tables.latex import to_latex
from ...results.tables.score_table import score_document, score_rows
from ...results.tables.transfer_table import TRANSFER_HEAD, transfer_rows

_TEXTS = ["first", "second", "metric", "unit", "name", "class", "test", "effect_size", "verdict"]
_TESTED = (
    *("a_low", "a_high", "b_low", "b_high", "difference_low", "difference_high", "test", "p", "p_holm"),
    *("effect", "effect_size", "verdict", "tau", "better", "worse"),
)
"""Columns of the CSV that rows of kind ``image`` leave empty; those of kind ``class`` fill the last two."""


class _Tables:
    """Display of a document of tables."""

    @property
    def document(self) -> Document:
        """Tables, facts and footnotes."""
        raise NotImplementedError

    def to_markdown(self) -> str:
        """The tables as GitHub Markdown."""
        return to_markdown(self.document)

    def to_latex(self) -> str:
        """The tables as a LaTeX fragment (booktabs)."""
        return to_latex(self.document)

    def _repr_html_(self) -> str:
        return to_html(self.document)

    def _repr_markdown_(self) -> str:
        return to_markdown(self.document, tables_first=True)

    def __repr__(self) -> str:
        return to_markdown(self.document, tables_first=True)


@dataclass(frozen=True, repr=False)
class Leaderboard(_Tables):
    """The score tables of one or more runs; ``cambench leaderboard`` writes the same.

    Attributes:
        merged: Scores of the triples over their common images.
        standing: Intervals, significant changes and ranks; None where they were not asked for.
    """

    merged: Merged
    standing: Standing | None

    @property
    def document(self) -> Document:
        """The tables, a backbone each."""
        return score_document(self.merged, self.standing)

    @property
    def frame(self) -> pd.DataFrame:
        """One row for each triple (its index): unrounded scores, changes to the base head, interval ends, ranks."""
        head, rows = score_rows(self.merged, self.standing)
        frame = pd.DataFrame(rows, columns=head)
        return frame.set_index(pd.Index(list(self.merged.triples), name="triple"))

    def to_csv(self) -> str:
        """``frame`` as CSV text, guarded against spreadsheet formulas."""
        return to_csv(*score_rows(self.merged, self.standing))


@dataclass(frozen=True, repr=False)
class PairedComparison(_Tables):
    """Pairs of triples over the same images; ``cambench compare`` prints the same.

    Attributes:
        comparison: Differences, images and classes as objects.
    """

    comparison: Comparison

    @property
    def document(self) -> Document:
        """Differences, images and classes of every pair."""
        return compare_document(self.comparison, classes=CLASSES)

    @property
    def frame(self) -> pd.DataFrame:
        """A row a pair and metric: scores, difference, interval ends, test, p, p_holm, effect, verdict.

        ``better`` and ``worse``: images that only the second, only the first gets right (McNemar's test).
        """
        return self._rows("metric", ("name", "index", "class", "tau"))

    @property
    def images(self) -> pd.DataFrame:
        """The listed images of every pair: where the second gains and loses most."""
        return self._rows("image", ("images", *_TESTED))

    @property
    def classes(self) -> pd.DataFrame:
        """All classes of every pair: mean scores, and images on which the second is better and worse."""
        return self._rows("class", ("name", "index", *_TESTED[:-2]))

    @property
    def transfer(self) -> pd.DataFrame:
        """Threshold transfer, where ``val`` is given: a row an entry, Loc score and choice of τ; empty otherwise.

        ``choice``: fixed by the protocol, best on ``val``, or the oracle's; ``score`` at ``tau``; ``gap`` to it.
        """
        return pd.DataFrame(transfer_rows(self.comparison.transfers), columns=list(TRANSFER_HEAD))

    def worse(self, metrics: str | Sequence[str]) -> list[str]:
        """Triples that are significantly worse than what they are compared with in one of ``metrics``.

        Raises:
            CompareError: There is no such metric, or a pair lacks it.
        """
        wanted = [metrics] if isinstance(metrics, str) else metrics
        return list(dict.fromkeys(d.second for d in self.comparison.worse(wanted)))

    def to_csv(self) -> str:
        """Differences, images and classes as one CSV text, unrounded."""
        return compare_csv(self.comparison)

    def _rows(self, kind: str, without: Sequence[str]) -> pd.DataFrame:
        # Read from the CSV, so that the notebook and the file cannot disagree.
        table = pd.read_csv(io.StringIO(self.to_csv()), dtype=str, keep_default_na=False)
        found = table[table["kind"] == kind].drop(columns=["kind", *without]).reset_index(drop=True)
        for column in found.columns.difference(_TEXTS):
            found[column] = pd.to_numeric(found[column])
        return found
