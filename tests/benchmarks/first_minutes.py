"""The README's own commands one after the other, as a Markdown table: ``python first_minutes.py [FOLDER]``.

Each runs from an empty folder with a cache of its own and nothing in it (birds not drawn, kernels not compiled): its
CPU seconds, children included, its wall seconds, and the longest time without a line, with the line before it. What
counts on a machine with other work are the CPU seconds. POSIX only.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from itertools import chain
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
NOT_HERE = ("--dataset wsol --root images/",)
"""Commands whose folders nobody has."""
BESIDE = (
    "cambench --version",
    "cambench ls",
    "cambench ls backbones 'timm:*'",
    "cambench ls datasets -v",
    "cambench ls cams -v gradcam",
    "cambench reproduce table1 --dry-run",
    "cambench doctor device",
)
"""What the text around the blocks names."""


def commands(text: str) -> list[str]:
    """The ``cambench`` commands of the README's shell blocks, in order, without their comments."""
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    found = [" ".join(shlex.split(line, comments=True, posix=False)) for line in lines]
    return [c for c in found if c.startswith("cambench ") and not any(part in c for part in NOT_HERE)]


def plugin(text: str) -> str:
    """The README's own CAM method."""
    found = re.search(r"<!-- file: my_cam.py -->\n```python\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found[1]


def measure(command: str, folder: Path, cache: Path) -> tuple[float, float, float, str]:
    """CPU seconds, wall seconds, the longest silence, and the line before it."""
    program = [sys.executable, "-m", *shlex.split(command)]
    env = {**os.environ, "CAMBENCH_CACHE": str(cache)}
    start = last = time.monotonic()
    before, line = os.times(), ""
    silence, after = 0.0, ""
    with subprocess.Popen(
        program, cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        for said in chain(process.stdout, [""]):
            now = time.monotonic()
            if now - last > silence:
                silence, after = now - last, line
            last, line = now, said.strip() or line
    if process.returncode:
        sys.exit(f"{command}: exit code {process.returncode}; {line}")
    spent = os.times()
    cpu = spent.children_user + spent.children_system - before.children_user - before.children_system
    return cpu, time.monotonic() - start, silence, after


def main() -> None:
    """Run all commands, and print a row after each."""
    text = README.read_text(encoding="utf-8")
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "my_cam.py").write_text(plugin(text), encoding="utf-8")
    print("| command | CPU s | wall s | longest silence, s | after |\n|---|---:|---:|---:|---|")
    for command in [*BESIDE[:1], *commands(text), *BESIDE[1:]]:
        cpu, wall, silence, after = measure(command, folder, folder / "cache")
        print(f"| `{command}` | {cpu:.1f} | {wall:.1f} | {silence:.1f} | {after[:60]} |", flush=True)


if __name__ == "__main__":
    main()
