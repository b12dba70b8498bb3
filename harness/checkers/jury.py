"""The jury: shows every fact, once and in order, to the checkers that asked for its kind, and collects their verdicts.

Owns dispatch and the rule that a checker which fails to run says `unknown`. Must not know any invariant.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from harness.checkers.checker import Checker
from harness.checkers.core_phase import CorePhase, joined
from harness.checkers.registry import CHECKERS
from harness.checkers.run import Run
from harness.history import Fact
from harness.verdict import Finding, Verdict


class Jury:
    """Judges a run while it is played: `see` every fact as it happens, then ask `findings`.

    ``invariants``: ids to judge, empty for all of ``checkers``. Raises `ValueError` for an id that no checker decides.
    """

    def __init__(self, invariants: Iterable[str] = (), checkers: Mapping[str, type[Checker]] = CHECKERS) -> None:
        wanted = set(invariants) or set(checkers)
        strangers = sorted(wanted - set(checkers))
        if strangers:
            raise ValueError(f"invariants: no checker decides {', '.join(strangers)}; known are {', '.join(checkers)}")
        self._types = {invariant: kind for invariant, kind in checkers.items() if invariant in wanted}
        self._sitting: dict[str, Checker] = {}
        self._failures: dict[str, str] = {}
        self._by_kind: dict[str, list[Checker]] = {}
        self._run: Run | None = None
        self._core: CorePhase | None = None
        self._index = -1
        self._illegible = ""

    @property
    def violated(self) -> tuple[str, ...]:
        """The invariants that are violated already."""
        return tuple(invariant for invariant, checker in self._sitting.items() if checker.violated and invariant not in self._failures)

    def see(self, fact: Fact) -> None:
        """Take the next fact of the history. Never raises: what goes wrong becomes `unknown` in the findings."""
        self._index += 1
        if self._illegible:
            return
        try:
            if self._run is None:
                if fact.kind == "topology":
                    self._run = Run(fact)
                    self._seat(self._run)
                    if fact.body.get("core"):
                        self._core = CorePhase(fact, self._types)
                return
            self._run.see(self._index, fact)
            if self._core is not None:
                self._core.see(self._index, fact)
        except Exception as error:  # noqa: BLE001 - a fact that does not fit the vocabulary leaves every checker without ground
            self._illegible = f"fact {self._index} ({fact.kind}) cannot be read: {error!r}"
            return
        for checker in self._by_kind.get(fact.kind, ()):
            try:
                checker.see(self._index, fact)
            except Exception as error:  # noqa: BLE001 - one checker's fault must not silence the others
                self._dismiss(checker, f"the checker failed at fact {self._index} ({fact.kind}): {error!r}")

    def _dismiss(self, failed: Checker, why: str) -> None:
        """A checker that failed is shown nothing any more."""
        self._failures[failed.invariant] = why
        self._by_kind = {kind: [checker for checker in checkers if checker is not failed] for kind, checkers in self._by_kind.items()}

    def findings(self) -> tuple[Finding, ...]:
        """One finding for each invariant, in the order of the registry. Call it once, after the last fact."""
        core = self._core.findings() if self._core is not None and not self._illegible else {}
        return tuple(joined(self._finding(invariant), core.get(invariant)) for invariant in self._types)

    def _seat(self, run: Run) -> None:
        for invariant, kind in self._types.items():
            try:
                checker = self._sitting[invariant] = kind(run)
            except Exception as error:  # noqa: BLE001 - the others still have their say
                self._failures[invariant] = f"the checker failed to start: {error!r}"
                continue
            for wanted in sorted(checker.kinds):
                self._by_kind.setdefault(wanted, []).append(checker)

    def _finding(self, invariant: str) -> Finding:
        why = self._illegible or self._failures.get(invariant) or ("" if self._run is not None else "the history holds no topology")
        if not why:
            try:
                return self._sitting[invariant].finish()
            except Exception as error:  # noqa: BLE001 - the others still have their say
                why = f"the checker failed at the end: {error!r}"
        return Finding(invariant=invariant, verdict=Verdict.UNKNOWN, why=why)


def check(history: Iterable[Fact], invariants: Iterable[str] = (), checkers: Mapping[str, type[Checker]] = CHECKERS) -> tuple[Finding, ...]:
    """Judge a whole history in one pass: a finding for each invariant, all of them if none is named."""
    jury = Jury(invariants, checkers)
    for fact in history:
        jury.see(fact)
    return jury.findings()
