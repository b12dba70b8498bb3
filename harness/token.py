"""Replay tokens: a whole run in a line that fits into a chat.

Owns the form of a token and what it promises: the same scenario, the same code, the same seed and implementation, so the same run, byte for
byte. It carries short digests of scenario and code, so that a replay can say what has changed instead of drifting.

    hp1:kill-during-partition:42:9f3a1c-77e0d2            hp1:<scenario>:<seed>:<scenario digest>-<code fingerprint>[:<implementation>]
"""

from __future__ import annotations

import re

from msgspec import Struct

from harness.shared.implementation import OURS
from scenarios.schedule import Schedule

FORM = re.compile(r"hp1:(?P<scenario>[a-z0-9-]+):(?P<seed>[0-9]{1,12}):(?P<digest>[0-9a-f]{6})-(?P<code>[0-9a-f]{6})(:(?P<implementation>[\w.:-]+))?")


class TokenInvalid(ValueError):
    """A text that is not a token."""


class ReplayToken(Struct, frozen=True):
    """``digest`` and ``code``: the first six hex digits of the scenario's digest and of the code's fingerprint."""

    scenario: str
    seed: int
    digest: str
    code: str
    implementation: str = OURS

    def __str__(self) -> str:
        tail = "" if self.implementation == OURS else f":{self.implementation}"
        return f"hp1:{self.scenario}:{self.seed}:{self.digest}-{self.code}{tail}"


def token_of(schedule: Schedule, implementation: str) -> ReplayToken:
    code = schedule.version.rpartition("+")[2]
    return ReplayToken(schedule.scenario, schedule.seed, schedule.scenario_digest[:6], code[:6], implementation)


def parse(text: str) -> ReplayToken:
    """Read a token. Raises `TokenInvalid`."""
    found = FORM.fullmatch(text.strip())
    if found is None:
        raise TokenInvalid(f"token: not of the form hp1:<scenario>:<seed>:<digests> (got {text.strip()[:80]!r}); was it copied whole?")
    return ReplayToken(found["scenario"], int(found["seed"]), found["digest"], found["code"], found["implementation"] or OURS)


def mismatches(token: ReplayToken, schedule: Schedule) -> list[str]:
    """Why a schedule drawn now would not be the run of the token; empty if it would."""
    here = token_of(schedule, token.implementation)
    problems = []
    if here.digest != token.digest:
        problems.append(
            f"scenario: {token.scenario} has changed since (its digest is {here.digest}, the token's {token.digest}); check out the file as it was"
        )
    if here.code != token.code:
        problems.append(
            f"version: the code has changed since (its fingerprint is {here.code}, the token's {token.code}); check out the version that made it"
        )
    return problems
