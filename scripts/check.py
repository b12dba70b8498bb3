"""What has to hold before a change goes in: the phases of `make test`, one after the other, all of them whatever fails.

Owns the list and its order: cheap before dear, so that the first failure comes soon. Knows nothing of what a phase does. Runs on the
standard library alone. The last line counts what passed and failed: each test, and each phase that is not tests.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
OUT = Path("out/test")
SUMMARY = OUT / "summary.txt"  # the last line, for whoever has to repeat it below what make adds
CAPABILITY_MISSING = 5
CAMPAIGN_OUT, LIVE_OUT = f"{OUT}/campaign", f"{OUT}/live-{{}}"
TOLD_MAX, WHY_MOST = 12, 240


# What has to hold against real processes, in two halves that are played at the same time: a live run mostly waits. Each line names what it is for.
LIVE_HALVES = (
    (
        "drain-near-its-end",  # a partition during a drain
        "kill-during-partition",
        "paused-across-its-lease",
        "sidecar-crash-mid-drain",  # SIGKILL, and back again
        "runaway-trader",  # forks, ignores SIGTERM, knocks at its sinks after its stop
        "saves-cut-short",  # SIGKILL in the middle of a checkpoint
        "soft-overtaken-by-hard",
    ),
    (
        "policy-rolled-back-during-a-kill",
        "duplicated-and-replayed-signals",
        "wall-clock-jumps-in-a-drain",  # by hours, both ways
        "replica-lost-its-disk",  # and rejoined
        "disk-full-at-a-kill",
        "keys-rotated-in-a-partition",  # and one of them revoked
    ),
)


class Phase(NamedTuple):
    """One command, and those that run ``beside`` it. ``junit``: where pytest writes its counts. ``tolerated``: exit codes that only mean that
    something will be skipped. ``answers``: where campaigns write theirs."""

    name: str
    command: tuple[str, ...]
    junit: str = ""
    tolerated: tuple[int, ...] = ()
    beside: tuple[tuple[str, ...], ...] = ()
    answers: tuple[str, ...] = ()


class Counts(NamedTuple):
    """How many tests, or phases that are not tests, did what."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0


def python(*arguments: str) -> tuple[str, ...]:
    """A command of this environment's interpreter."""
    return (sys.executable, "-m", *arguments)


def pytest(name: str, *arguments: str) -> Phase:
    """A phase of tests."""
    junit = f"{OUT}/{name}.xml"
    return Phase(name, python("pytest", "-q", f"--junit-xml={junit}", *arguments), junit)


def haltproof(*arguments: str) -> tuple[str, ...]:
    """The command as users have it."""
    return (str(BIN / "haltproof"), *arguments)


def live(half: int) -> tuple[str, ...]:
    """Half of the live runs. What this host cannot play is named, and the rest played; a run that the host's noise left undecided is played again."""
    return haltproof("run", "--live", "--retries", "1", *LIVE_HALVES[half], "--out", LIVE_OUT.format(half + 1))


PHASES = (
    Phase("lint", python("ruff", "check", ".")),
    Phase("format", python("ruff", "format", "--check", "--quiet", ".")),
    Phase("types", python("mypy")),
    pytest("tests", "-m", "not live", "-n", "2"),
    Phase("clean campaign", haltproof("run", "--seeds", "16", "--twins", "--out", CAMPAIGN_OUT), answers=(CAMPAIGN_OUT,)),
    Phase("planted bugs", haltproof("bugs", "--once", "--seeds", "30")),
    Phase("toxiproxy server", python("harness.live.server"), tolerated=(CAPABILITY_MISSING,)),
    Phase("live runs", live(0), tolerated=(CAPABILITY_MISSING,), beside=(live(1),), answers=(LIVE_OUT.format(1), LIVE_OUT.format(2))),
    pytest("live", "-m", "live"),
)


def run(phase: Phase) -> Counts:
    """Carry out a phase and say how it went, with its seconds."""
    for number, command in enumerate((phase.command, *phase.beside)):
        print(f"{'   ' if number else chr(10) + '==='} {phase.name}: {' '.join(command[1:])}", flush=True)
    if phase.junit:
        Path(phase.junit).unlink(missing_ok=True)  # else a run that dies early would be counted by the one before it
    started = time.monotonic()
    running = [subprocess.Popen(command, stdin=subprocess.DEVNULL) for command in (phase.command, *phase.beside)]
    codes = [each.wait() for each in running]
    seconds = time.monotonic() - started
    code = next((code for code in codes if code and code not in phase.tolerated), max(codes))
    good = code == 0 or code in phase.tolerated
    print(f"=== {phase.name}: {'ok' if code == 0 else 'skipped' if good else f'FAILED, exit {code}'} in {seconds:.1f} s", flush=True)
    if not phase.junit:
        return Counts(passed=int(code == 0), failed=int(not good), skipped=int(good and code != 0))
    counts = tests_of(Path(phase.junit))
    return counts if good or counts.failed else counts._replace(failed=1)  # it failed without a failing test: nothing collected, a crash


def tests_of(junit: Path) -> Counts:
    """What a JUnit file of pytest counts; nothing if there is none."""
    if not junit.is_file():
        return Counts()
    suites = ET.parse(junit).getroot().iter("testsuite")  # noqa: S314  # pytest of this very run wrote it
    failed = skipped = total = 0
    for suite in suites:
        total += int(suite.get("tests", 0))
        failed += int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        skipped += int(suite.get("skipped", 0))
    return Counts(total - failed - skipped, failed, skipped)


def told(phase: Phase) -> list[str]:
    """What the campaigns of a phase say of runs that were played again or are not valid, a line each: by then their own words are far above."""
    lines = []
    for out in phase.answers:
        place = Path(out, "campaign.json")
        if not place.is_file():
            continue  # it was skipped, or has said itself why there is no answer
        said = json.loads(place.read_text("utf-8"))
        of_runs = [*((each, "played again") for each in said["played_again"]), *((each, each["verdict"]) for each in said["failures"])]
        lines += [f"{phase.name}: {word}: {each['scenario']}, seed {each['seed']}: {each['why'][:WHY_MOST]}" for each, word in of_runs]
        told_of = {each["scenario"] for each in said["failures"]}
        whole = [each for each in said["scenarios"] if each["verdict"] != "valid" and each["scenario"] not in told_of]
        lines += [f"{phase.name}: {each['verdict']}: {each['scenario']}: {each['why'][:WHY_MOST]}" for each in whole]
    return lines[:TOLD_MAX] + ([f"{phase.name}: ... and {len(lines) - TOLD_MAX} more"] if len(lines) > TOLD_MAX else [])


def main(names: list[str]) -> int:
    """Run the phases named, all if none is; 0 if nothing failed, 1 if something did, 64 for a name that does not exist."""
    unknown = [name for name in names if name not in {phase.name for phase in PHASES}]
    if unknown:
        print(f"check: no such phase (got {', '.join(unknown)}); one of: {', '.join(phase.name for phase in PHASES)}", file=sys.stderr)
        return 64
    OUT.mkdir(parents=True, exist_ok=True)
    chosen = [phase for phase in PHASES if not names or phase.name in names]
    results = [(phase.name, run(phase)) for phase in chosen]
    failed = [name for name, counts in results if counts.failed]
    print("", *(line for phase in chosen for line in told(phase)), sep="\n")
    print(f"\n{'failed phases: ' + ', '.join(failed) if failed else 'every phase holds'}")
    passed, failures, skipped = (sum(column) for column in zip(*(counts for _, counts in results), strict=True))
    counted = f"{passed} passed, {failures} failed" + (f", {skipped} skipped" if skipped else "")
    SUMMARY.write_text(f"{counted}\n", "utf-8")
    print(counted, flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    os.chdir(ROOT)
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
