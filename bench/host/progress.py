"""Progress of long work: a live bar with rate and time left on a terminal, plain lines otherwise."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.progress import Task as RichTask
from rich.text import Text

from .consoles import err as console

PLAIN_LINE_EVERY_S = 15.0


class Bar:
    """Counts finished units of one piece of work; made by ``progress``."""

    def __init__(self, title: str, total: int, unit: str, live: RichProgress | None) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.done = 0
        self._live = live
        self._task = live.add_task(title, total=total, unit=unit) if live else None
        self._start = self._last_line = time.monotonic()

    def advance(self, count: int = 1, note: str = "") -> None:
        """``count`` more units are done; ``note`` is shown behind the title (a loss, a shard)."""
        self.done += count
        if self._live is not None and self._task is not None:
            title = f"{self.title} {note}".rstrip()
            self._live.update(self._task, advance=count, description=title)
        elif time.monotonic() - self._last_line > PLAIN_LINE_EVERY_S:
            self._line(note)

    def _line(self, note: str = "") -> None:
        self._last_line = time.monotonic()
        seconds = max(self._last_line - self._start, 1e-9)
        rate = self.done / seconds
        left = (self.total - self.done) / rate if rate else float("inf")
        tail = f", {note}" if note else ""
        done = f"{self.done}/{self.total} {self.unit}, {rate:.1f} {self.unit}/s, {left:.0f} s left"
        stream = console.file
        stream.write(f"{self.title}: {done}{tail}\n")
        stream.flush()

    def close(self) -> None:
        """Print the closing plain line, where there is no live bar and the work was long enough to say so."""
        if self._live is None and time.monotonic() - self._start > 1.0:
            self._line()


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
    with RichProgress(*columns, console=console, transient=True) as live:
        yield Bar(title, total, unit, live)
