"""Image ids occur once, over all chunks, and none is another one in disguise."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..findings import EXAMPLES, Findings, some


class IdCheck:
    """Ids occur once and are UTF-8. Over chunks only a 64-bit hash of each id is kept, so that memory stays small."""

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        self.total = 0
        self._hashes: list[npt.NDArray[np.int64]] = []
        self._folded: list[npt.NDArray[np.int64]] = []
        self._alike: list[str] = []

    def add(self, ids: Sequence[str]) -> None:
        """Check one chunk's ids."""
        self.total += len(ids)
        self._hashes.append(np.fromiter(map(hash, ids), np.int64, len(ids)))
        folded = [folded_name(i) for i in ids]
        self._folded.append(np.fromiter(map(hash, folded), np.int64, len(ids)))
        if len(set(folded)) < len(set(ids)) and len(self._alike) <= EXAMPLES:
            often = Counter(folded)
            self._alike += [i for i, f in zip(ids, folded, strict=True) if often[f] > 1][: 2 * EXAMPLES]
        if len(set(ids)) < len(ids):
            twice = [i for i, n in Counter(ids).items() if n > 1]
            self._report(f"{some(twice)}", len(twice))
        bad = [i for i in ids if not is_utf8(i)]
        if bad:
            self.findings.error(
                f"{len(bad):,} file names are not UTF-8: {some([repr(b) for b in bad])}",
                fix="rename them (convmv -f latin1 -t utf8 …), or extract the archive with a UTF-8 locale",
                count=len(bad),
            )

    def close(self) -> None:
        """Check that no id occurs in two chunks, and tell ids that some file systems hold for one."""
        self._report_alike()
        if len(self._hashes) > 1:
            hashes = np.concatenate(self._hashes)
            self._hashes.clear()
            hashes.sort()
            several = int(np.count_nonzero(hashes[1:] == hashes[:-1]))
            if several and not self.findings.of("error"):
                self._report("in different folders", several)

    def _report_alike(self) -> None:
        folded = np.concatenate(self._folded) if self._folded else np.zeros(0, np.int64)
        exact = np.concatenate(self._hashes) if self._hashes else folded
        self._folded.clear()
        several = int(len(np.unique(exact)) - len(np.unique(folded)))
        if several:
            which = some(self._alike, 2 * several) if self._alike else "in different folders"
            self.findings.warn(
                f"{several:,} image ids differ from another only in capital letters or in the form of their accents: "
                f"{which}",
                fix="macOS and Windows hold such names for one file: are they the same picture twice?",
                count=several,
            )

    def _report(self, which: str, count: int) -> None:
        self.findings.error(
            f"{count:,} image ids occur more than once: {which}", fix="remove the duplicate lines or files", count=count
        )


def folded_name(name: str) -> str:
    """A name without what some file systems do not tell apart: case, and composed or decomposed accents."""
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", name).casefold()


def is_utf8(text: str) -> bool:
    """Whether a name that the file system gave is UTF-8: other bytes become lone surrogates."""
    return text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text)
