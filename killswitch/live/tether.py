"""Runs a command that cannot outlive its parent: ``python tether.py PARENT_PID [--cgroup DIR] -- COMMAND...``.

Owns the last instants before another program runs: parent-death signal, and membership of a control group before the program can fork.
Imports nothing of the project and little of the library: it runs as a script, isolated, once for every process that is started.

A process whose sidecar died is an agent without a guard, so the kernel itself must end it: ``PR_SET_PDEATHSIG`` survives ``execve``
(not ``fork``: for children of children there is the control group). It is asked for here and not between fork and exec in the
parent, where Python code is not safe beside threads.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
EXIT_ORPHAN = 75
EXIT_NO_COMMAND = 127


def command_line(argv: list[str], *, cgroup: Path | None = None) -> list[str]:
    """``argv``, tethered to the calling process. Start it from a thread that lives as long as the process should."""
    group = [] if cgroup is None else ["--cgroup", str(cgroup)]
    return [sys.executable, "-I", "-S", str(Path(__file__).resolve()), str(os.getpid()), *group, "--", *argv]


def prctl(option: int, value: int) -> None:
    """Raises `OSError`."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def main(arguments: list[str]) -> int:
    """Does not return if all goes well."""
    own, command = arguments[: arguments.index("--")], arguments[arguments.index("--") + 1 :]
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(own[0]):  # the parent died before the kernel was asked to watch it
        return EXIT_ORPHAN
    if own[1:2] == ["--cgroup"]:
        (Path(own[2]) / "cgroup.procs").write_text("0")
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        return EXIT_NO_COMMAND


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
