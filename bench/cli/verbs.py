"""How the command line reads its words: ``help VERB``, options without a value, and words that stand alone."""

from __future__ import annotations

import re
import traceback
from itertools import pairwise
from pathlib import Path
from typing import Any

import typer.core

from ...datasets.open import PLACE as DATASET_PLACE
from ..engine.planning.words import CAM_PLACE, HEAD_PLACE, names_of
from ..host.errors import RunError, UsageError

IN_PYTHON = ("explain", "load", "wrap")
"""Functions of the package that are no verbs."""


class Verbs(typer.core.TyperGroup):
    """All commands; the end of a file that came too early is said, where typer says no more than "Aborted."."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As the base class; ``help VERB`` is ``VERB --help``."""
        return super().parse_args(ctx, [*args[1:], "--help"] if args[:1] == ["help"] else args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As the base class; ``UsageError`` for what is a function of Python."""
        if args and args[0] in IN_PYTHON:
            name = args[0]
            also = "; on the command line, 'cambench figure maps' draws maps" if name == "explain" else ""
            raise UsageError(f"{name} is no command but a function of Python, cambench.{name}(…){also}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """As the base class; ``RunError`` for an ``EOFError``."""
        try:
            return super().invoke(ctx)
        except EOFError as error:
            frames = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(error.__traceback__)]
            if frames[-1].startswith("<frozen importlib"):
                # A full disk or a limit of file sizes cuts what Python compiles, without a word.
                fix = "a compiled file of Python is cut short: remove the folders __pycache__ of this installation"
            else:
                fix = "a file ends too early: was it fetched or copied in full?"
            raise RunError(f"{error or 'end of file'}; {fix}") from error


class Verb(typer.core.TyperCommand):
    """A command that says of a stray word which option it belongs to, and of an option that it has no value."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As the base class; ``UsageError`` for a word that stands alone, and for an option in place of a value."""
        given = list(args)
        self._check_values(given)
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            found = re.search(r"unexpected extra argument\S* \((.*)\)", str(getattr(error, "message", "")), re.DOTALL)
            stray = max((a for a in given if found and found[1].startswith(a)), key=len, default=None)
            if stray is None or "triples" not in {p.name for p in self.params}:
                raise
        raise UsageError(f"{stray!r} stands alone: {_option_of(stray)}")

    def _check_values(self, given: list[str]) -> None:
        named = {name: p for p in self.params for name in (*p.opts, *p.secondary_opts) if name.startswith("-")}
        for word, following in pairwise(given):
            if word == "--":
                return
            option = named.get(word)
            if option is not None and not getattr(option, "is_flag", False) and following in named:
                raise UsageError(f"{word} needs a value, and {following}, which is an option, follows it")


def _option_of(stray: str) -> str:
    """What a word without an option is most likely meant for, and how it is given."""
    if stray.count("/") > 1 and not Path(stray).exists():
        return f"give triples with their option, --triples '{stray}'"
    if stray in names_of(DATASET_PLACE).known:
        return f"data sets are given with their option, --dataset {stray}"
    if stray in names_of(CAM_PLACE).known:
        return f"methods are named in triples, --triples '*/{stray}/*'"
    if stray in names_of(HEAD_PLACE).known:
        return f"heads are named in triples, --triples '*/*/{stray}'"
    if Path(stray).exists():
        return f"give the folder of the data with its option, --root {stray}, and what it is with --dataset"
    return f"networks are named in triples, --triples '{stray}/gradcam/softmax'"
