"""Named entries of one kind: registration, globs, "did you mean", entry points of other packages."""

from __future__ import annotations

import difflib
import importlib
import itertools
import pkgutil
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from fnmatch import fnmatchcase
from importlib.metadata import entry_points
from pathlib import Path
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
PLUGIN = "cambench_plugin_"
"""How the modules of plug-in files are named."""


class RegistryError(ValueError):
    """A name that cannot be registered, or a plugin that cannot be loaded."""


class UnknownNameError(KeyError):
    """A name that no entry has; the message lists the nearest ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        known = sorted(known)
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(known) or '(none)'}"
        super().__init__(f"unknown {kind} {name!r}; {hint}")
        self.kind, self.name, self.near = kind, name, near

    def __str__(self) -> str:
        return str(self.args[0])


EVERY = ".*"
"""Ending of a folder's name that stands for its modules."""


def modules_of(builtin: Iterable[str]) -> list[str]:
    """The modules that a registry's ``builtin`` names, every folder's by name; nothing is imported."""
    found: list[str] = []
    for module in builtin:
        folder = Path(__file__).parent.joinpath(*module.removesuffix(EVERY).split(".")[1:])
        inside = pkgutil.iter_modules([str(folder)]) if module.endswith(EVERY) else ()
        found += [f"{module.removesuffix(EVERY)}.{m.name}" for m in inside] or [module]
    return found


def place_in_folder(module: str, source: str) -> tuple[int, str]:
    """The order inside a folder: by the year that the entry's source states (0 where it states none), then by file."""
    year = re.search(r"\b(?:19|20)\d\d\b", source)
    return (int(year[0]) if year else 0), module


class Derived(Protocol[T_co]):
    """Entries that are made from others, under names that no module registers (``vgg16_gap+adl``)."""

    def names(self, pattern: str) -> list[str]:
        """Such names that a pattern selects; none where it is not of their form."""
        ...

    def get(self, name: str) -> T_co | None:
        """The entry of such a name; None where it is not of their form."""
        ...


class Registry(Generic[T]):
    """Entries of one kind under their names.

    Built-in modules and entry points are imported at the first look-up, so that importing the registry is cheap.

    Args:
        kind: What an entry is called in messages (``"CAM method"``).
        group: Entry-point group of third-party packages (``"cambench.cams"``).
        builtin: Modules that register the built-in entries when imported; ``package.folder.*`` is every module of a
            folder, whose entries stand in the order of ``place_in_folder``.
        check: Called with ``(name, entry)``; raises ``RegistryError`` if the entry is not of the right shape.
    """

    def __init__(
        self, kind: str, group: str, builtin: tuple[str, ...] = (), check: Callable[[str, T], None] | None = None
    ) -> None:
        self.kind, self.group = kind, group
        self._builtin, self._check = builtin, check
        self.derived: Derived[T] | None = None
        """Further entries, which ``names`` lists only for a pattern of their form."""
        self._entries: dict[str, T] = {}
        self._origin: dict[str, str] = {}
        self._state: str = "new"
        self._lock = threading.RLock()

    def add(self, name: str, entry: T, *, origin: str | None = None) -> T:
        """Register ``entry`` under ``name``; a name that is taken by another entry raises ``RegistryError``."""
        if not re.fullmatch(r"[A-Za-z0-9][\w.+:-]*", name):
            raise RegistryError(f"{self.kind} name {name!r} may hold letters, digits and . _ + : - only")
        if self._check is not None:
            self._check(name, entry)
        source = origin or getattr(entry, "__module__", None) or "?"
        if source.partition(".")[0] != __package__:
            # The built-in names are taken whether or not they were looked up before.
            self._import_builtin()
        taken = self._origin.get(name)
        if taken is not None and taken != source:
            raise RegistryError(
                f"{self.kind} {name!r} of {_owner(source)} is already registered by {_owner(taken)}; "
                "choose another name"
            )
        self._entries[name], self._origin[name] = entry, source
        additions.append(name)
        return entry

    def get(self, name: str) -> T:
        """The entry called ``name``; raises ``UnknownNameError`` with the nearest names."""
        self._load()
        if name in self._entries:
            return self._entries[name]
        made = None if self.derived is None else self.derived.get(name)
        if made is None:
            raise UnknownNameError(self.kind, name, self._entries)
        return made

    def names(self, pattern: str = "*") -> list[str]:
        """Names that match a glob with optional ``{a,b}`` alternatives, in registration order."""
        self._load()
        patterns = expand_braces(pattern)
        found = [n for n in self._entries if any(fnmatchcase(n, p) for p in patterns)]
        if self.derived is None:
            return found
        return list(dict.fromkeys([*found, *(n for p in patterns for n in self.derived.names(p))]))

    def match(self, pattern: str) -> list[str]:
        """Like ``names``, but every brace alternative must match something; else ``UnknownNameError``."""
        found: dict[str, None] = {}
        for part in expand_braces(pattern):
            hits = self.names(part)
            if not hits:
                # A name of a derived entry says which of its parts is unknown.
                self.get(part)
                raise UnknownNameError(self.kind, part, self._entries)
            found.update(dict.fromkeys(hits))
        return list(found)

    def origin(self, name: str) -> str:
        """The module that registered ``name``."""
        self.get(name)
        return self._origin.get(name, "derived")

    def __contains__(self, name: object) -> bool:
        self._load()
        return name in self._entries or (isinstance(name, str) and self._is_derived(name))

    def _is_derived(self, name: str) -> bool:
        try:
            return self.derived is not None and self.derived.get(name) is not None
        except UnknownNameError:
            return False

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def __len__(self) -> int:
        self._load()
        return len(self._entries)

    def _load(self) -> None:
        if self._state == "ready":
            return
        # Another thread must not see half a registry; the loading thread itself may look things up.
        with self._lock:
            if self._state != "new":
                return
            self._state = "loading"
            try:
                self._import_all()
            except BaseException:
                self._state = "new"
                raise
            self._state = "ready"

    def _import_builtin(self) -> None:
        with self._lock:
            if self._state != "new":
                return
            # Not "ready": the entry points of other packages are loaded at the first look-up.
            self._state = "loading"
            try:
                self._import_modules()
            finally:
                self._state = "new"

    def _import_modules(self) -> None:
        for module in modules_of(self._builtin):
            importlib.import_module(module)
        # A module that somebody imported before registered out of turn.
        places = {name: self._place(name) for name in self._entries}
        self._entries = {name: self._entries[name] for name in sorted(places, key=places.__getitem__)}

    def _place(self, name: str) -> tuple[int, int, str]:
        """Where a name stands among those of folders; all others come behind them, as they were registered."""
        origin = self._origin[name]
        for rank, module in enumerate(self._builtin):
            if module.endswith(EVERY) and origin.startswith(module[:-1]):
                return rank, *place_in_folder(origin, getattr(self._entries[name], "source", ""))
        return len(self._builtin), 0, ""

    def _import_all(self) -> None:
        self._import_modules()
        for point in entry_points(group=self.group):
            try:
                loaded = point.load()
            except Exception as error:
                raise RegistryError(
                    f"entry point {point.name!r} of {self.group} ({point.value}) cannot be loaded: "
                    f"{type(error).__name__}: {error}"
                ) from error
            # An entry point may name a module that registers by decorator, or the entry itself.
            if point.name not in self._entries and not hasattr(loaded, "__path__") and not _is_module(loaded):
                self.add(point.name, loaded, origin=point.value)


additions: list[str] = []
"""Every name that was registered in this process, so that a plug-in which registers nothing is seen."""


def _owner(module: str) -> str:
    """A plug-in by its file, other modules by their name."""
    if not module.startswith(PLUGIN):
        return module
    return str(getattr(sys.modules.get(module), "__file__", None) or module)


def _is_module(thing: object) -> bool:
    return type(thing).__name__ == "module"


MOST_ALTERNATIVES, DEEPEST_BRACES = 10_000, 20


def expand_braces(pattern: str) -> list[str]:
    """Shell-like alternatives: ``"a/{b,c}"`` gives ``["a/b", "a/c"]``; nested braces are allowed.

    Raises:
        RegistryError: A brace is not closed, or not opened; braces are nested too deeply, or mean too many names.
    """
    return _expanded(pattern, pattern, 0)


def _expanded(pattern: str, whole: str, depth_so_far: int) -> list[str]:
    """``expand_braces`` of a piece of the pattern ``whole``."""
    if depth_so_far > DEEPEST_BRACES:
        raise RegistryError(f"pattern {_short(whole)}: more than {DEEPEST_BRACES} braces one after or in another")
    start = pattern.find("{")
    if start < 0:
        if "}" in pattern:
            raise RegistryError(f"pattern {_short(whole)}: '}}' without '{{'")
        return [pattern]
    depth, pieces, last = 0, [], start + 1
    for i in range(start, len(pattern)):
        char = pattern[i]
        if char == "{":
            depth += 1
        elif char == "," and depth == 1:
            pieces.append(pattern[last:i])
            last = i + 1
        elif char == "}":
            depth -= 1
            if depth == 0:
                pieces.append(pattern[last:i])
                heads = [h for p in pieces for h in _expanded(p, whole, depth_so_far + 1)]
                tails = _expanded(pattern[i + 1 :], whole, depth_so_far + 1)
                if len(heads) * len(tails) > MOST_ALTERNATIVES:
                    raise RegistryError(f"pattern {_short(whole)}: means more than {MOST_ALTERNATIVES:,} names")
                if "}" in pattern[:start]:
                    raise RegistryError(f"pattern {_short(whole)}: '}}' without '{{'")
                return [pattern[:start] + h + t for h, t in itertools.product(heads, tails)]
    raise RegistryError(f"pattern {_short(whole)}: '{{' is not closed")


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:80] + "…")
