"""How to cite the numbers of a report, and the commands and digests that reproduce them."""

from __future__ import annotations

import shlex
from pathlib import Path

from ...text import visible
from ..records.load import Run
from ..scores.merge import Merged
from .scored import Json


def citation(merged: Merged) -> Json:
    """``text`` to cite, ``commands`` to give again, ``digests`` (name, value) of all that the numbers depend on."""
    manifest = merged.runs[0].manifest
    data, protocol = manifest.dataset, manifest.protocol
    versions = ", ".join(dict.fromkeys(r.manifest.code_version for r in merged.runs))
    text = (
        f"Scores by cambench {versions}, protocol {protocol.name} (version {protocol.version}, digest "
        f"{protocol.digest}), on {data.title or data.name}, split {data.split} ({merged.images} images; data "
        f"{data.fingerprint[:16]})."
    )
    commands = list(dict.fromkeys(line for run in merged.runs for line in _commands(run)))
    return {
        "text": visible(text),
        "commands": [visible(line) for line in commands],
        "digests": [[visible(name), visible(value)] for name, value in _digests(merged)],
    }


def _commands(run: Run) -> list[str]:
    """The command that computed the records as it was given, where it was, and the one that makes this page."""
    given = run.manifest.settings.get("command")
    lines = []
    if isinstance(given, str) and given.strip():
        program, _, rest = given.partition(" ")
        words = "cambench" if Path(program).name in ("__main__.py", "cambench") else program
        lines.append(f"{words} {rest}".rstrip())
    return [*lines, f"cambench report {shlex.quote(str(run.out))}"]


def _digests(merged: Merged) -> list[tuple[str, str]]:
    manifest = merged.runs[0].manifest
    found = [
        ("Protocol", manifest.protocol.digest),
        ("Data", manifest.dataset.fingerprint),
        *((f"Run {run.out.name}", run.manifest.key) for run in merged.runs),
    ]
    for run in merged.runs:
        for name, network in run.manifest.backbones.items():
            found.append((f"{name}, weights", network.weights_sha256))
            found += [(f"{name}, {branch} branch", b.sha256) for branch, b in network.branches.items()]
        found += [
            (f"method {name}, code", cam.code_sha256) for name, cam in run.manifest.cams.items() if cam.code_sha256
        ]
    versions: dict[str, list[str]] = {}
    for run in merged.runs:
        for name, value in run.manifest.versions.items():
            versions.setdefault(name, []).append(value)
    found += [(name, ", ".join(dict.fromkeys(values))) for name, values in versions.items()]
    return list(dict.fromkeys(found))
