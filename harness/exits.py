"""Exit codes of every command, and which one a campaign earns. Documented in ``docs/operations.md``. The refusal that carries one, and the words for
a file that cannot be had."""

from __future__ import annotations

from enum import IntEnum

from harness.results import Campaign, RunResult
from harness.verdict import Verdict


class Exit(IntEnum):
    VALID = 0
    INVALID = 1
    UNKNOWN = 2
    STOPPED = 3
    RESIDUE = 4
    CAPABILITY = 5
    USAGE = 64
    SCENARIO = 65  # or another file that is not what it has to be
    BUG = 70
    INTERRUPTED = 130
    BROKEN_PIPE = 141
    TERMINATED = 143


class Refused(Exception):
    """A command cannot do what was asked; the message says why, ``code`` is how it exits."""

    def __init__(self, message: str, code: Exit = Exit.USAGE) -> None:
        super().__init__(message)
        self.code = code


_OF_VERDICT = {Verdict.VALID: Exit.VALID, Verdict.INVALID: Exit.INVALID, Verdict.UNKNOWN: Exit.UNKNOWN}


def of_verdict(verdict: Verdict) -> Exit:
    return _OF_VERDICT[verdict]


def of_campaign(campaign: Campaign, runs: list[RunResult]) -> Exit:
    """The verdict's, or that of a stop condition or the safety lever that ended a run."""
    if any(run.ended.startswith(("stop condition", "safety lever")) for run in runs):
        return Exit.STOPPED
    return of_verdict(campaign.verdict)


def unreadable(error: OSError) -> str:
    """What to say of a file that could not be read or written."""
    return f"{error.filename or 'a file'}: {error.strerror or error}; name another file, or see who may use it"
