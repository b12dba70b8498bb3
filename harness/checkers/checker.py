"""What a checker is, and what all of them share.

Owns the interface that the jury calls and the bookkeeping of a verdict: the first violation with its witness, what stayed undecided,
what was skipped and why, and the tightest instance of a timed bound. Must not know any invariant.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Protocol

from harness.checkers.run import Run
from harness.shared.history import Fact
from harness.verdict import Finding, Verdict


class Checker(Protocol):
    """Decides one invariant of one run, online. Made with the `Run`, shown its facts in order, asked once at the end.

    ``kinds`` are the facts it asks for; ``violated`` is true from the first violation on, so that a run can be stopped.
    """

    invariant: ClassVar[str]
    title: ClassVar[str]
    kinds: ClassVar[frozenset[str]]
    violated: bool

    def __init__(self, run: Run) -> None: ...

    def see(self, index: int, fact: Fact) -> None:
        """Take the fact at ``index`` of the history, one of ``kinds``; the `Run` has seen it already."""
        ...

    def see_twin(self, index: int, fact: Fact) -> None:
        """Take a fact, one of ``kinds``, of another host that has the name of one in this run; the `Run` knows nothing of it."""
        ...

    def finish(self) -> Finding:
        """The verdict. Called once, after the last fact."""
        ...


class InvariantChecker(ABC):
    """The bookkeeping. A subclass implements `see`, and `settle` for what only the end of the run decides."""

    invariant: ClassVar[str]
    title: ClassVar[str]
    kinds: ClassVar[frozenset[str]]

    def __init__(self, run: Run) -> None:
        self.run = run
        self.examined = 0
        self.skipped = 0
        self.violated = False
        self._why = ""
        self._witness: tuple[int, ...] = ()
        self._undecided = ""
        self._tightest: tuple[int, int] | None = None

    @abstractmethod
    def see(self, index: int, fact: Fact) -> None:
        """Take one fact of ``kinds``."""

    def see_twin(self, index: int, fact: Fact) -> None:  # noqa: B027 - most invariants are about what each host does by itself
        """Take one fact of ``kinds`` of another host with a name of this run's: a copy, or what this one was copied from."""

    def settle(self) -> None:  # noqa: B027 - most invariants are decided when the last fact is in, and then there is nothing left to do
        """Judge what only the end of the run decides."""

    def finish(self) -> Finding:
        self.settle()
        verdict, why = Verdict.VALID, ""
        if self.violated:
            verdict, why = Verdict.INVALID, self._why
        elif self._undecided:
            verdict, why = Verdict.UNKNOWN, self._undecided
        elif self.skipped:
            why = f"{self.skipped} skipped: what this leans on was broken (A1, A2; T5)"
        observed_ns, bound_ns = self._tightest if self._tightest is not None else (None, None)
        return Finding(
            invariant=self.invariant, verdict=verdict, why=why, witness=self._witness, examined=self.examined,
            observed_ns=observed_ns, bound_ns=bound_ns, skipped=self.skipped,
        )  # fmt: skip

    def blame(self, why: str, *witness: int) -> None:
        """Record a violation. The first one stands: later ones are mostly its consequences."""
        if not self.violated:
            self.violated = True
            self._why, self._witness = why, tuple(sorted(set(witness)))

    def leave_undecided(self, why: str) -> None:
        """Record that the history is too short to tell. Of a host that is gone for good nothing is due that could still come."""
        if not self.run.abandoned:
            self._undecided = self._undecided or why

    def measure(self, observed_ns: int, bound_ns: int) -> None:
        """Keep the instance of a timed bound that came nearest to it, by ratio."""
        if self._tightest is None or observed_ns * max(self._tightest[1], 1) > self._tightest[0] * max(bound_ns, 1):
            self._tightest = (observed_ns, bound_ns)
