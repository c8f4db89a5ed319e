"""``python -m cambench``."""

from .bench.cli.app import main

main()
