"""The port through which a run sets a node's wall clock: a small library before the C library, and a page that says how far off it is to be.

Owns the library, the page and both its ends. Only the wall clock is touched (`CLOCK_REALTIME`, `gettimeofday`, `time`): leases, deadlines and every
wait of the process go by other clocks, and the trial says so before anybody relies on it. The library is compiled once, by the host's own C
compiler. The node reports what it reads itself, so that a jump is measured in the process that it befalls.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from harness.live.server import cache

FOLDER = "walls"
SETTING = "HALTPROOF_WALL"
PAGE = struct.Struct("<qq")  # how far off (the harness writes it), and the node's wall clock less the host's boot-time clock (the node does)
REPORT_S = 0.02
BUILD_S = 60.0

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile long long *page;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("HALTPROOF_WALL");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *map = file < 0 ? MAP_FAILED : mmap(0, 16, PROT_READ, MAP_SHARED, file, 0);
    if (map != MAP_FAILED) page = map;
    if (file >= 0) close(file);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, now);
    if (failed || !page || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) return failed;
    long long ns = now->tv_sec * 1000000000LL + now->tv_nsec + page[0];
    long long left = ns % 1000000000LL;
    if (left < 0) left += 1000000000LL; /* before 1970 */
    now->tv_sec = (ns - left) / 1000000000LL;
    now->tv_nsec = left;
    return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    struct timespec at;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &at)) return -1;
    now->tv_sec = at.tv_sec;
    now->tv_usec = at.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *into) {
    struct timespec at;
    if (clock_gettime(CLOCK_REALTIME, &at)) return (time_t)-1;
    if (into) *into = at.tv_sec;
    return at.tv_sec;
}
"""

TRIAL = """
import asyncio, queue, select, subprocess, sys, threading, time
def took(wait):
    began = time.clock_gettime(time.CLOCK_BOOTTIME)
    wait()
    return time.clock_gettime(time.CLOCK_BOOTTIME) - began
def from_queue():
    try:
        queue.Queue().get(timeout=0.1)
    except queue.Empty:
        pass
waits = [lambda: time.sleep(0.1), lambda: select.select([], [], [], 0.1), lambda: threading.Event().wait(0.1), from_queue,
         lambda: asyncio.run(asyncio.sleep(0.1))]
bad = [number for number, wait in enumerate(waits) if not 0.09 < took(wait) < 2]
print(int(time.time()), *bad)
"""


class NoShim(OSError):
    """The library cannot be had here."""


def library() -> Path:
    """The library, compiled if it is not there yet. Raises `NoShim`."""
    built = cache().parent / f"wall-{hashlib.sha256(SOURCE.encode()).hexdigest()[:12]}.so"
    if built.exists():
        return built
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise NoShim("no C compiler on PATH")
    built.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=built.parent) as scratch:
        source, draft = Path(scratch) / "wall.c", Path(scratch) / "wall.so"
        source.write_text(SOURCE)
        command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(draft), str(source), "-ldl"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_S, check=False)
        if done.returncode:
            raise NoShim(f"{compiler}: {done.stderr.strip()[-200:]}")
        draft.rename(built)  # whole or not at all, also when two build at once
    return built


def why_not() -> str:
    """Run a process ten hours ahead, and see that only its wall clock is; why that cannot be done here, empty if it can."""
    with tempfile.TemporaryDirectory(prefix="haltproof-doctor-") as scratch:
        try:
            page = WallSwitch(Path(scratch) / "wall")
            page.step(36_000_000_000_000)
            done = subprocess.run(
                [sys.executable, "-c", TRIAL], env={**os.environ, **page.environment}, capture_output=True, text=True, timeout=BUILD_S, check=False
            )
        except (OSError, subprocess.SubprocessError) as error:
            return str(error)
    said = done.stdout.split()
    if not said:
        return f"the trial said nothing: {done.stderr.strip()[-200:]}"
    if abs(int(said[0]) - time.time() - 36_000) > 60:
        return "the wall clock of a process could not be moved"
    return f"waits {', '.join(said[1:])} of the trial go by the wall clock" if said[1:] else ""


def page_of(node: str, directory: Path) -> Path:
    """Where the page of ``node`` is, in the run's directory."""
    return directory / FOLDER / node.replace("/", "-")


class WallSwitch:
    """The harness's end. Raises `NoShim` if there is no library."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(PAGE.pack(0, 0))
        self.path = path
        self.environment = {"LD_PRELOAD": str(library()), SETTING: str(path.resolve())}
        self._page = _mapped(path)

    def step(self, by_ns: int) -> None:
        """Let the wall clock of whoever reads it jump."""
        struct.pack_into("<q", self._page, 0, PAGE.unpack_from(self._page)[0] + by_ns)

    def reported_ns(self) -> int:
        """The node's wall clock less the host's boot-time clock, as the node itself read both; 0 before it did."""
        return int(PAGE.unpack_from(self._page)[1])


def report() -> None:
    """The node's end: from now on say what this process reads, if it has a page."""
    path = os.environ.get(SETTING)
    if path:
        threading.Thread(target=_report, args=(_mapped(Path(path)),), name="wall", daemon=True).start()


def _report(page: mmap.mmap) -> None:
    while True:
        struct.pack_into("<q", page, 8, time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME))
        time.sleep(REPORT_S)


def _mapped(path: Path) -> mmap.mmap:
    file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        return mmap.mmap(file, PAGE.size)
    finally:
        os.close(file)
