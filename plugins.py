"""Plug-in files: Python files of a user whose decorators register what is theirs."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
import traceback
import zlib
from pathlib import Path

from .home import expanded
from .registry import PLUGIN, RegistryError, additions

_registered: set[str] = set()
"""Modules of plug-in files that have registered something in this process."""


def load_plugin(path: str | Path) -> None:
    """Import a Python file so that its ``@register_…`` decorators run.

    Raises:
        RegistryError: The file is missing, is not Python, fails to import (the reason is in the message), or registers
            nothing.
    """
    file = expanded(path)
    if not file.is_file():
        raise RegistryError(f"plugin {file}: no such file")
    # Two files of one name in different folders are two modules.
    place = zlib.crc32(os.fsencode(file.resolve()))
    name = f"{PLUGIN}{re.sub(r'[^0-9A-Za-z_]', '_', file.stem)}_{place:08x}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise RegistryError(f"plugin {file}: not a Python file (expected a name ending in .py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    before = len(additions)
    try:
        spec.loader.exec_module(module)
    except RegistryError:
        raise
    except (Exception, SystemExit) as error:
        # A script that ends by `sys.exit` would end the command without a word.
        del sys.modules[name]
        raise RegistryError(f"plugin {file}{_line_in(file, error)}: {type(error).__name__}: {error}") from error
    if len(additions) > before:
        _registered.add(name)
    # A file that asks whether its names are there already adds nothing when it is loaded again.
    elif name not in _registered:
        raise RegistryError(
            f'plugin {file}: registers nothing. Put @register_cam("NAME") above the method\'s function (or call '
            "register_metric, register_backbone, register_head, register_dataset, register_wsol or cambench.wrap)"
        )


def _line_in(file: Path, error: BaseException) -> str:
    """``, line N`` of a file that an error went through; empty where it did not."""
    # Python knows the file by its absolute name.
    names = {str(file), str(file.absolute())}
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename in names]
    return f", line {lines[-1]}" if lines else ""
