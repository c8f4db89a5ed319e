"""Systems without POSIX as the product sees them: a fixture, and a switch for whole test runs (`tox -e portable`)."""

import builtins
import os
import subprocess
import sys
from pathlib import Path

import pytest

# What tests of several rooms share.
sys.path.append(str(Path(__file__).parent))

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


ALONE = "CAMBENCH_TEST_ALONE"


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """A test marked ``own_process`` runs in a fresh interpreter: it forks, and autograd's threads do not follow."""
    if pyfuncitem.get_closest_marker("own_process") is None or ALONE in os.environ:
        return None
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", pyfuncitem.nodeid]
    environment = {**os.environ, ALONE: "1"}
    done = subprocess.run(words, cwd=pyfuncitem.config.rootpath, env=environment, capture_output=True, text=True)
    if done.returncode:
        pytest.fail(done.stdout[-20_000:], pytrace=False)
    return True


AT_WORK = {
    f"cambench.{name}"
    for name in (
        "baselines.backbones.own.wrapped",
        "bench.maps.given_method",
        "bench.stored.rescore",
        "bench.paper.factorial",
    )
}
"""Modules of the product that register what a call is given, not what they bring."""


def _registries():
    from cambench.registry import Registry

    modules = [m for name, m in list(sys.modules.items()) if name.startswith("cambench.")]
    return {id(v): v for m in modules for v in list(vars(m).values()) if isinstance(v, Registry)}.values()


@pytest.fixture(autouse=True, scope="module")
def registered_here_alone():
    """What a test file registers is gone after it, so that files may run in any order and company."""
    before = {id(registry): set(registry._entries) for registry in _registries()}
    yield
    for registry in _registries():
        for name in set(registry._entries) - before.get(id(registry), set()):
            origin = registry._origin[name]
            if origin in AT_WORK or origin.partition(".")[0] != "cambench":
                del registry._entries[name], registry._origin[name]


@pytest.fixture
def without_posix(monkeypatch):
    """The product as on Windows, for one test."""
    monkeypatch.setattr(builtins, "__import__", import_without_posix)
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "cambench" and getattr(module, "os", None) is os:
            monkeypatch.setattr(module, "os", OsWithoutPosix())
