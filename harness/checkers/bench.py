"""Checkers that sit together over one `Run`.

Owns dispatch by kind, and the rule that a checker which fails to run says `unknown` and silences nobody else. Must not know any invariant, nor
what part of a run it is shown.
"""

from __future__ import annotations

from collections.abc import Mapping

from harness.checkers.checker import Checker
from harness.checkers.run import Run
from harness.shared.history import Fact
from harness.verdict import Finding, Verdict


class Bench:
    """Seats one checker of each of ``types``. `see` raises what `Run` raises, and nothing of what checkers do."""

    def __init__(self, run: Run, types: Mapping[str, type[Checker]]) -> None:
        self.run = run
        self._invariants = tuple(types)
        self._sitting: dict[str, Checker] = {}
        self._failures: dict[str, str] = {}
        self._by_kind: dict[str, list[Checker]] = {}
        for invariant, kind in types.items():
            try:
                checker = self._sitting[invariant] = kind(run)
            except Exception as error:  # noqa: BLE001 - the others still have their say
                self._failures[invariant] = f"the checker failed to start: {error!r}"
                continue
            for wanted in sorted(checker.kinds):
                self._by_kind.setdefault(wanted, []).append(checker)

    @property
    def violated(self) -> tuple[str, ...]:
        return tuple(invariant for invariant, checker in self._sitting.items() if checker.violated and invariant not in self._failures)

    def see(self, index: int, fact: Fact, *, of_twin: bool = False) -> None:
        """Take the next fact; ``of_twin``: of another host that has the name of one of this run's."""
        if not of_twin:
            self.run.see(index, fact)
        for checker in self._by_kind.get(fact.kind, ()):
            try:
                checker.see_twin(index, fact) if of_twin else checker.see(index, fact)
            except Exception as error:  # noqa: BLE001 - one checker's fault must not silence the others
                self._dismiss(checker, f"the checker failed at fact {index} ({fact.kind}): {error!r}")

    def _dismiss(self, failed: Checker, why: str) -> None:
        """A checker that failed is shown nothing any more."""
        self._failures[failed.invariant] = why
        self._by_kind = {kind: [checker for checker in checkers if checker is not failed] for kind, checkers in self._by_kind.items()}

    def findings(self) -> dict[str, Finding]:
        """One finding for each invariant. Call it once, after the last fact."""
        return {invariant: self._finding(invariant) for invariant in self._invariants}

    def _finding(self, invariant: str) -> Finding:
        why = self._failures.get(invariant)
        if not why:
            try:
                return self._sitting[invariant].finish()
            except Exception as error:  # noqa: BLE001 - the others still have their say
                why = f"the checker failed at the end: {error!r}"
        return Finding(invariant=invariant, verdict=Verdict.UNKNOWN, why=why)
