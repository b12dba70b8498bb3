"""The jury: shows every fact, once and in order, to the checkers that asked for its kind, and collects their verdicts.

Owns who is shown what: both phases of a run, and each of two hosts of one name. Must not know any invariant.

When a host is cloned, so is the bench that judges the run: what was is common to both, and from there on each sees one of the hosts and
everybody else. To the bench of the copy its host has lost power, and boots again. So each is judged by all that is promised, as if it alone had the
name; what the other does comes in by replicas and sinks, as what any stranger does, and by `see_twin` to the checkers that have to know.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping

from msgspec import structs

from harness.checkers.bench import Bench
from harness.checkers.checker import Checker
from harness.checkers.core_phase import CorePhase, joined
from harness.checkers.registry import CHECKERS
from harness.checkers.run import Run
from harness.checkers.words import agent_of
from harness.shared.history import Fact
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
        self._bench: Phases | None = None
        self._twins: Twins | None = None
        self._index = -1
        self._illegible = ""

    @property
    def violated(self) -> tuple[str, ...]:
        """The invariants that are violated already."""
        benches = () if self._bench is None else (self._bench,) if self._twins is None else self._twins.benches
        found = {invariant for bench in benches for invariant in bench.violated}
        return tuple(invariant for invariant in self._types if invariant in found)

    def see(self, fact: Fact) -> None:
        """Take the next fact of the history. Never raises: what goes wrong becomes `unknown` in the findings."""
        self._index += 1
        if self._illegible:
            return
        try:
            if self._bench is None:
                if fact.kind == "topology":
                    self._bench = Phases(fact, self._types)
            elif self._twins is not None:
                self._twins.see(self._index, fact)
            else:
                self._bench.see(self._index, fact)
                if fact.kind == "node-cloned":
                    self._twins = Twins(self._index, fact, self._bench)
        except Exception as error:  # noqa: BLE001 - a fact that does not fit the vocabulary leaves every checker without ground
            self._illegible = f"fact {self._index} ({fact.kind}) cannot be read: {error!r}"

    def findings(self) -> tuple[Finding, ...]:
        """One finding for each invariant, in the order of the registry. Call it once, after the last fact."""
        if self._bench is None or self._illegible:
            why = self._illegible or "the history holds no topology"
            return tuple(Finding(invariant=invariant, verdict=Verdict.UNKNOWN, why=why) for invariant in self._types)
        found = self._bench.findings()
        if self._twins is not None:
            copy_found = self._twins.benches[1].findings()
            found = {invariant: joined(each, copy_found[invariant], "by the copy") for invariant, each in found.items()}
        return tuple(found.values())


def check(history: Iterable[Fact], invariants: Iterable[str] = (), checkers: Mapping[str, type[Checker]] = CHECKERS) -> tuple[Finding, ...]:
    """Judge a whole history in one pass: a finding for each invariant, all of them if none is named."""
    jury = Jury(invariants, checkers)
    for fact in history:
        jury.see(fact)
    return jury.findings()


class Phases:
    """A bench over the whole run, and what is due in its core phase if it has one. `see` raises what `Run` raises."""

    def __init__(self, topology: Fact, types: Mapping[str, type[Checker]]) -> None:
        self._whole = Bench(Run(topology), types)
        self._core = CorePhase(topology, types) if topology.body.get("core") else None

    @property
    def run(self) -> Run:
        return self._whole.run

    @property
    def violated(self) -> tuple[str, ...]:
        return self._whole.violated + (self._core.violated if self._core is not None else ())

    def see(self, index: int, fact: Fact, *, of_twin: bool = False) -> None:
        """Take the next fact; ``of_twin``: of another host that has the name of one of this run's."""
        if not of_twin and self._core is not None:
            self._core.see(index, fact)
        self._whole.see(index, fact, of_twin=of_twin)

    def findings(self) -> dict[str, Finding]:
        """One finding for each invariant, of both phases."""
        core = self._core.findings() if self._core is not None else {}
        return {invariant: joined(each, core.get(invariant), "in the healed core") for invariant, each in self._whole.findings().items()}


class Twins:
    """Two benches from the moment at which a host was cloned: of the original, and of the copy. The bench of one that is ended rests from then on."""

    def __init__(self, index: int, cloned: Fact, bench: Phases) -> None:
        self.benches = (bench, copy.deepcopy(bench))
        self._resting: set[int] = set()
        agent = agent_of(cloned.node)
        names = (cloned.node, f"agent/{agent}")
        mark = cloned.body["copy"].removeprefix(cloned.node)
        self._places: dict[str, tuple[int, str]] = {}  # as a history calls it -> (whose host it is on, its name there)
        for name in names:
            self._places[name], self._places[name + mark] = (0, name), (1, name)
        self._end(1, index, cloned)

    def see(self, index: int, fact: Fact) -> None:
        place, name = self._places.get(fact.node, (None, fact.node))
        fact = structs.replace(fact, node=name)
        for number, bench in enumerate(self.benches):
            if number not in self._resting:
                bench.see(index, fact, of_twin=place not in (None, number))
        if fact.kind == "clone-ended" and place is not None:
            self._resting.add(place)
            self.benches[place].run.abandoned = True

    def _end(self, number: int, index: int, fact: Fact) -> None:
        """To that bench, the host lost power at this moment."""
        for name in {name: None for where, name in self._places.values() if where == number}:
            self.benches[number].see(index, Fact(fact.at_ns, "node-crashed", name, fact.clock_ns, {"lost_records": 0, "power": True}))
