"""Progress of long work: a live bar with rate and time left on a terminal, plain lines otherwise."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.errors import LiveError
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.progress import Task as RichTask
from rich.text import Text

from .consoles import err as console

PLAIN_LINE_EVERY_S = 15.0
SHORT_S = 1.0
"""Seconds of a piece of work that need no closing line."""


class Bar:
    """Counts finished units of one piece of work; made by ``progress``.

    Rate and time left come from what followed the first finished units: what is done once (caches, compilers, the first
    answer of a device) is in those.
    """

    def __init__(self, title: str, total: int, unit: str, live: RichProgress | None) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done = 0
        self._live = live
        self._task = live.add_task(title, total=total, unit=unit) if live else None
        self._start = self._last_line = time.monotonic()
        self._first: tuple[float, int] | None = None
        if live is None:
            self._write(f"{self.total:,} {self.unit}")

    def advance(self, count: int = 1, note: str = "") -> None:
        """``count`` more units are done; ``note`` is shown behind the title (a loss, a shard)."""
        self.done += count
        now = time.monotonic()
        if self._live is not None and self._task is not None:
            title = f"{self.title} {note}".rstrip()
            self._live.update(self._task, advance=count, description=title)
        elif now - self._last_line > PLAIN_LINE_EVERY_S:
            self._line(now, note)
        if self._first is None and count:
            self._first = now, self.done

    def _line(self, now: float, note: str) -> None:
        self._last_line = now
        parts = [f"{self.done:,}/{self.total:,} {self.unit}"]
        if self._first is not None and self.done > self._first[1]:
            rate = (self.done - self._first[1]) / max(now - self._first[0], 1e-9)
            parts += [f"{rate:,.1f} {self.unit}/s", f"{(self.total - self.done) / rate:,.0f} s left"]
        self._write(", ".join([*parts, *([note] if note else [])]))

    def _write(self, text: str) -> None:
        stream = console.file
        stream.write(f"{self.title}: {text}\n")
        stream.flush()

    def close(self) -> None:
        """Print the closing plain line, where there is no live bar and the work was long enough to say so."""
        seconds = time.monotonic() - self._start
        if self._live is None and seconds > SHORT_S:
            self._write(f"{self.done:,}/{self.total:,} {self.unit} in {seconds:,.1f} s")


class _Rate(ProgressColumn):
    def render(self, task: RichTask) -> Text:
        """Units per second of a task."""
        speed = task.finished_speed or task.speed
        unit = task.fields.get("unit", "")
        return Text(f"{speed:.1f} {unit}/s" if speed else "–", style="cyan")


@contextmanager
def progress(title: str, total: int, unit: str = "images") -> Iterator[Bar]:
    """Context of a ``Bar`` over ``total`` units; writes to standard error only."""
    if not console.is_terminal:
        bar = Bar(title, total, unit, None)
        try:
            yield bar
        finally:
            bar.close()
        return
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    live = RichProgress(*columns, console=console, transient=True)
    try:
        live.start()
    except LiveError:
        # A bar within another's time: of two at once rich shows one.
        yield Bar(title, total, unit, None)
        return
    with live:
        yield Bar(title, total, unit, live)
