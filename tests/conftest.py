"""Systems without POSIX as the product sees them: a fixture, and a switch for whole test runs (`tox -e portable`)."""

import builtins
import os
import sys

import pytest

MODULES = {"fcntl", "grp", "pwd", "resource", "termios", "tty", "pty", "posix", "syslog", "crypt"}
FUNCTIONS = {
    *("chown", "fchmod", "fork", "forkpty", "geteuid", "getgid", "getgroups", "getpgid", "getpriority", "getuid"),
    *("killpg", "mkfifo", "mknod", "nice", "posix_fallocate", "pread", "preadv", "pwrite", "register_at_fork"),
    *("sched_getaffinity", "sched_setaffinity", "setpriority", "setsid", "setuid", "statvfs", "sysconf", "uname"),
    *("wait3", "wait4", "O_CLOEXEC", "O_DIRECTORY", "O_NOFOLLOW", "O_NONBLOCK", "O_TMPFILE", "PRIO_PROCESS"),
}
_import = builtins.__import__


class OsWithoutPosix:
    """The module ``os`` without what Windows lacks; ``kill`` there ends a process, whatever the signal."""

    def __getattr__(self, name):
        if name in FUNCTIONS or name == "kill":
            raise AttributeError(f"module 'os' has no attribute {name!r} (as on Windows)")
        return getattr(os, name)


def import_without_posix(name, globals=None, locals=None, fromlist=(), level=0):
    """``__import__`` that hides POSIX from modules of the product alone: libraries have their own ways."""
    if level == 0 and str((globals or {}).get("__name__", "")).startswith("cambench"):
        if name.partition(".")[0] in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r} (as on Windows)", name=name)
        if name == "os":
            return OsWithoutPosix()
    return _import(name, globals, locals, fromlist, level)


if os.environ.get("CAMBENCH_TESTS_WITHOUT_POSIX"):
    assert not any(name.partition(".")[0] == "cambench" for name in sys.modules)
    builtins.__import__ = import_without_posix


@pytest.fixture
def without_posix(monkeypatch):
    """The product as on Windows, for one test."""
    monkeypatch.setattr(builtins, "__import__", import_without_posix)
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "cambench" and getattr(module, "os", None) is os:
            monkeypatch.setattr(module, "os", OsWithoutPosix())
