"""The files that a request gives for its networks: checked, resolved once to a file for each branch."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from ....baselines.contracts import Branch
from ...host.errors import UsageError
from .config import RunConfig

HEAD_BRANCHES: tuple[Branch, ...] = ("sigmoid", "semantic")
"""Branches that ``--head-weights`` gives; the softmax branch has an option of its own."""
HeadFiles = Mapping[tuple[str, Branch], Path]
"""(Backbone, branch) -> the checkpoint that was given for it."""


def resolve_heads(config: RunConfig, branches: Mapping[str, Collection[Branch]], *, only_one: bool) -> HeadFiles:
    """The file of every branch that a request gives one for.

    Args:
        config: The request.
        branches: Backbone -> the branches that are read of it.
        only_one: The request names one backbone, so that a file needs no name.

    Raises:
        UsageError: A file that could mean several things (``head_files``), or one that no triple reads.
    """
    found: dict[tuple[str, Branch], Path] = {}
    for name, read in branches.items():
        files = head_files(name, config.head_weights, read, only_one)
        softmax = file_for(name, config.softmax_weights, only_one, "--softmax-weights")
        if softmax is not None:
            files["softmax"] = softmax
        found |= {(name, branch): file for branch, file in files.items() if branch in read}
    _check_read(config, branches, set(found.values()))
    return found


def _check_read(config: RunConfig, branches: Mapping[str, Collection[Branch]], used: Collection[Path]) -> None:
    """Raise ``UsageError`` where a head is given that would be passed over: the user believes it is in the tables."""
    for flag, files in (("--head-weights", config.head_weights), ("--softmax-weights", config.softmax_weights)):
        for key, file in files.items():
            if file not in used:
                named = "" if key == "*" else f"{key}="
                read = "; ".join(f"those of {name} read {' and '.join(found)}" for name, found in branches.items())
                raise UsageError(
                    f"{flag} {named}{file}: no triple reads this head ({read or 'no network is read'}); add a triple "
                    "whose head is of its branch (cambench ls heads), or leave the file out"
                )


def check_names(config: RunConfig, names: Sequence[str]) -> None:
    """Raise ``UsageError`` where a file is given for a network that the triples do not have."""
    given = {"--weights": config.weights, "--head-weights": config.head_weights}
    for flag, files in {**given, "--softmax-weights": config.softmax_weights}.items():
        for key, file in files.items():
            known = [*names, "*"]
            if flag == "--head-weights":
                known += [*HEAD_BRANCHES, *(f"{n}:{b}" for n in names for b in HEAD_BRANCHES)]
            if not names:
                raise UsageError(f"{flag} {file}: no triple has a network; leave the file out")
            if key not in known:
                raise UsageError(f"{flag} {key}={file}: no triple has the backbone {key!r}, only {', '.join(names)}")


def head_files(
    name: str, files: Mapping[str, Path], branches: Collection[Branch], only_one: bool
) -> dict[Branch, Path]:
    """The ``--head-weights`` file of each branch beside the softmax one that a network's triples read.

    Args:
        files: By ``BACKBONE:BRANCH``; by ``BRANCH``, by ``BACKBONE``, or ``*``, where these can mean one thing only.

    Raises:
        UsageError: A file without a backbone although the run has several, or without a branch although ``name``
            reads two.
    """
    wanted = [b for b in HEAD_BRANCHES if b in branches]
    found: dict[Branch, Path] = {b: files[f"{name}:{b}"] for b in wanted if f"{name}:{b}" in files}
    for branch in wanted:
        if branch in files and branch not in found:
            if not only_one:
                file = files[branch]
                raise UsageError(
                    f"--head-weights {branch}={file}: the run has several backbones; write "
                    f"--head-weights BACKBONE:{branch}={file}"
                )
            found[branch] = files[branch]
    plain = file_for(name, files, only_one, "--head-weights") if wanted else None
    if plain is not None:
        left = [b for b in wanted if b not in found]
        if not left:
            raise UsageError(f"--head-weights {plain}: {name} has a file for every branch already; leave one out")
        if len(left) > 1:
            raise UsageError(
                f"--head-weights {plain}: the triples of {name} read the branches {' and '.join(left)}; write "
                + " or ".join(f"--head-weights {'' if only_one else name + ':'}{b}={plain}" for b in left)
            )
        found[left[0]] = plain
    return found


def file_for(name: str, files: Mapping[str, Path], only_one: bool, flag: str) -> Path | None:
    """The file given for a network: under its name, or ``*`` where the run has one network only (else UsageError)."""
    if name in files:
        return files[name]
    if "*" in files:
        if not only_one:
            raise UsageError(f"{flag} {files['*']}: the run has several backbones; write {flag} BACKBONE=FILE")
        return files["*"]
    return None
