"""The port through which a run sets a node's wall clock: a small library before the C library, and a page that says how far off it is to be.

Owns the library, the page and both its ends. Only the wall clock is touched (`CLOCK_REALTIME`, `gettimeofday`, `time`): leases, deadlines and every
wait of the process go by other clocks, and the trial says so before anybody relies on it. How far off it is, is a line over the host's boot-time
clock, so that a rate needs nobody's hand while it lasts, and a process that restarts goes on reading the same wall clock. The library is compiled
once, by the host's own C compiler. The node reports what it reads itself, so that each change is measured in the process that it befalls.
"""

from __future__ import annotations

import asyncio
import hashlib
import mmap
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

from harness.live import pages
from harness.live.server import cache
from killswitch.live.clock import PER_MILLION

FOLDER = "walls"
SETTING = "HALTPROOF_WALL"
# The harness writes a line: version, the boot-time clock and how far off at that instant, its rate, version again. The node writes what it read:
# version, the boot-time clock, its wall clock less that, version again.
LINE_AT, LINE_FIELDS = 0, 3
READING_AT, READING_FIELDS = 40, 2
SIZE = READING_AT + 32
REPORT_S = 0.02
APART_NS = 1_000_000  # between the two clocks of a reading, if nothing interrupts it
READINGS = 3
BUILD_S = 60.0

TRIAL_PPM = 500_000

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

static int (*real)(clockid_t, struct timespec *);
static volatile long long *page;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("HALTPROOF_WALL");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *map = file < 0 ? MAP_FAILED : mmap(0, 40, PROT_READ, MAP_SHARED, file, 0);
    if (map != MAP_FAILED) page = map;
    if (file >= 0) close(file);
}

static long long off(void) {
    long long since, base, rate, version;
    struct timespec boot;
    do { /* while somebody writes, both versions differ */
        version = page[0];
        __sync_synchronize();
        since = page[1], base = page[2], rate = page[3];
        __sync_synchronize();
    } while (page[4] != version || page[0] != version);
    if (!rate || real(CLOCK_BOOTTIME, &boot)) return base;
    return base + (long long)((__int128)(boot.tv_sec * 1000000000LL + boot.tv_nsec - since) * rate / 1000000);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, now);
    if (failed || !page || (clock != CLOCK_REALTIME && clock != CLOCK_REALTIME_COARSE)) return failed;
    long long ns = now->tv_sec * 1000000000LL + now->tv_nsec + off();
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
def ahead():
    return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
before, began = ahead(), time.clock_gettime(time.CLOCK_BOOTTIME)
time.sleep(0.1)
gained, lasted = ahead() - before, time.clock_gettime(time.CLOCK_BOOTTIME) - began
print(int(time.time()), round(100 * gained / lasted), *bad)
"""


class NoShim(OSError):
    """The library cannot be had here."""


def library() -> Path:
    """The library, compiled if it is not there yet. Raises `NoShim`."""
    built = cache() / f"wall-{hashlib.sha256(SOURCE.encode()).hexdigest()[:12]}.so"
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
    """Run a process ten hours ahead and half as fast again, and see that only its wall clock is; why that cannot be done here, empty if it can."""
    with tempfile.TemporaryDirectory(prefix="haltproof-doctor-") as scratch:
        try:
            page = WallSwitch(Path(scratch) / "wall")
            page.step(36_000_000_000_000)
            page.drift("trial", TRIAL_PPM)
            done = subprocess.run(
                [sys.executable, "-c", TRIAL], env={**os.environ, **page.environment}, capture_output=True, text=True, timeout=BUILD_S, check=False
            )
        except (OSError, subprocess.SubprocessError) as error:
            return str(error)
    said = done.stdout.split()
    if len(said) < 2:
        return f"the trial said nothing: {done.stderr.strip()[-200:]}"
    if abs(int(said[0]) - time.time() - 36_000) > 60:
        return "the wall clock of a process could not be moved"
    if abs(int(said[1]) * 10_000 - TRIAL_PPM) > TRIAL_PPM // 5:
        return f"the wall clock of a process could not be sped up (it gained {said[1]} %)"
    return f"waits {', '.join(said[2:])} of the trial go by the wall clock" if said[2:] else ""


def page_of(node: str, directory: Path) -> Path:
    """Where the page of ``node`` is, in the run's directory."""
    return pages.place(FOLDER, node, directory)


class Reading(NamedTuple):
    """What a process read: its wall clock, ``ahead_ns`` of the host's boot-time clock, which read ``boot_ns``."""

    boot_ns: int
    ahead_ns: int


class WallSwitch:
    """The harness's end. Raises `NoShim` if there is no library."""

    def __init__(self, path: Path) -> None:
        self._page = pages.made(path, bytes(SIZE))
        self.path = path
        self.environment = {"LD_PRELOAD": str(library()), SETTING: str(path.resolve())}
        self._drifts: dict[str, int] = {}
        self.turn = asyncio.Lock()  # of whoever lets it jump: one jump is seen before the next is made

    @property
    def rate_ppm(self) -> int:
        """How much faster than real time it runs now, in millionths."""
        return self._line()[2]

    def step(self, by_ns: int) -> None:
        """Let the wall clock of whoever reads it jump."""
        self._bend(by_ns)

    def drift(self, fault: str, rate_ppm: int) -> None:
        """Let it run so much faster than real time for ``fault``; of several the latest counts, for as long as it is on."""
        self._drifts[fault] = rate_ppm
        self._bend()

    def let_be(self, fault: str) -> None:
        """It runs on from where it is, at the rate that is left."""
        if self._drifts.pop(fault, None) is not None:
            self._bend()

    def reading(self) -> Reading | None:
        """What the node itself read last; None before it did."""
        read = pages.read_line(self._page, READING_AT, READING_FIELDS)
        return None if read is None else Reading(*read)

    def _bend(self, by_ns: int = 0) -> None:
        since_ns, base_ns, rate_ppm = self._line()
        boot_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        base_ns += (boot_ns - since_ns) * rate_ppm // PER_MILLION + by_ns
        pages.write_line(self._page, LINE_AT, boot_ns, base_ns, next(reversed(self._drifts.values()), 0))

    def _line(self) -> tuple[int, ...]:
        return pages.read_line(self._page, LINE_AT, LINE_FIELDS) or (0, 0, 0)


def report() -> None:
    """The node's end: from now on say what this process reads, if it has a page."""
    path = os.environ.get(SETTING)
    if path:
        threading.Thread(target=_report, args=(pages.mapped(Path(path)),), name="wall", daemon=True).start()


def _report(page: mmap.mmap) -> None:
    while True:
        pages.write_line(page, READING_AT, *_read())
        time.sleep(REPORT_S)


def _read() -> Reading:
    """Both clocks at one instant, as nearly as a busy host lets anybody read two: of some tries the one that was interrupted least."""
    boot, tries = time.CLOCK_BOOTTIME, range(READINGS)
    _, before_ns, wall_ns, after_ns = min(
        (after_ns - before_ns, before_ns, wall_ns, after_ns)
        for before_ns, wall_ns, after_ns in ((time.clock_gettime_ns(boot), time.time_ns(), time.clock_gettime_ns(boot)) for _ in tries)
    )
    middle_ns = (before_ns + after_ns) // 2
    return Reading(middle_ns, wall_ns - middle_ns)
