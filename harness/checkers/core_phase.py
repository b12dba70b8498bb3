"""The first of two phases of recovery: a part of the cell is healed while the rest stays broken, and what is owed is owed there already.

Owns whom the phase concerns and which invariants are due in it. They are judged by the very checkers that judge the end of the run, on a `Run` in
which there is nothing but the members: their facts, and as its heal the moment at which they were healed. Must not know how anything is
judged, nor who was left out and why.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from harness.checkers.bench import Bench
from harness.checkers.checker import Checker
from harness.checkers.run import Run
from harness.checkers.words import targets_of
from harness.shared.history import Fact
from harness.verdict import Finding, Verdict

DUE_IN_CORE = ("L1", "L5", "L6", "L9", "L10")  # not L3: its checker itself counts from when a replica was healed, be it in a core


class CorePhase:
    """Judges ``types`` among the members that the ``topology`` fact names, from its beginning to the heal of everybody."""

    def __init__(self, topology: Fact, types: Mapping[str, type[Checker]]) -> None:
        self._members = frozenset(topology.body["core"])
        self._agents = {agent: record for agent, record in topology.body["agents"].items() if f"sidecar/{agent}" in self._members}
        replicas = [replica for replica in topology.body["replicas"] if replica in self._members]
        run = Run(replace(topology, body={**topology.body, "replicas": replicas, "agents": self._agents, "cells": []}))
        run.in_all, run.goes_on = len(topology.body["replicas"]), True
        self._bench = Bench(run, {invariant: types[invariant] for invariant in DUE_IN_CORE if invariant in types})
        self._began = self._over = False

    @property
    def violated(self) -> tuple[str, ...]:
        return self._bench.violated

    def see(self, index: int, fact: Fact) -> None:
        """Take the next fact. Raises what `Run` raises."""
        if self._over or not self._concerns(fact):
            return
        if fact.kind == "healed":
            self._over, self._bench.run.end_ns = True, fact.at_ns
            return
        if fact.kind == "core-healed":
            self._began, fact = True, replace(fact, kind="healed", body={})
        self._bench.see(index, fact)

    def _concerns(self, fact: Fact) -> bool:
        if fact.node != "world":
            return fact.node in self._members and fact.body.get("agent", next(iter(self._agents), None)) in self._agents
        ends = {end for each in targets_of(fact.body.get("target", ())) for end in each.split(" -> ")}
        return not ends or bool(ends & self._members)

    def findings(self) -> dict[str, Finding]:
        """What was found in the phase, if there was one to its end."""
        return self._bench.findings() if self._began and self._over else {}


def joined(whole: Finding, part: Finding | None, where: str) -> Finding:
    """One finding of two: a violation in either is one. ``where``: what the second is about."""
    if part is None:
        return whole
    worse = part.verdict is Verdict.INVALID or (part.verdict is Verdict.UNKNOWN and whole.verdict is Verdict.VALID)
    if whole.verdict is Verdict.INVALID or not worse:
        return replace(whole, examined=whole.examined + part.examined, skipped=whole.skipped + part.skipped)
    return replace(part, why=f"{where}: {part.why}", examined=part.examined + whole.examined, skipped=part.skipped + whole.skipped)
