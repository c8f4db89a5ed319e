"""``python -m cambench``."""

from .bench.cli import main

main()
