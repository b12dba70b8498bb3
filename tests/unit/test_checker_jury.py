"""The jury, the registry, the bounds, and what holds for every checker."""

from __future__ import annotations

from typing import ClassVar

import pytest

from harness.checkers import CHECKERS, Checker, InvariantChecker, Jury, check, stop_times
from harness.checkers.bounds import Bounds, stretch
from harness.shared.history import VOCABULARY, Fact, History
from harness.verdict import Finding, Verdict
from tests.unit.histories import AGENT, HARD_NS, PARAMETERS, SECOND, SIDECAR, Story


def test_the_registry_holds_the_invariants_in_order() -> None:
    assert list(CHECKERS) == [
        *(f"S{number}" for number in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 25, 26, 27, 28)),
        *(f"L{number}" for number in range(1, 15)),
    ]
    assert all(checker.title and checker.__doc__ for checker in CHECKERS.values())


@pytest.mark.parametrize("invariant", CHECKERS)
def test_every_checker_asks_for_kinds_of_the_vocabulary(invariant: str) -> None:
    kinds = CHECKERS[invariant].kinds
    assert kinds
    assert kinds <= set(VOCABULARY)


@pytest.mark.parametrize("invariant", CHECKERS)
def test_a_history_in_which_nothing_happened_is_valid_of_no_instances(invariant: str) -> None:
    finding = Story().judged(invariant)
    assert finding == Finding(invariant=invariant, verdict=Verdict.VALID)


def test_every_checker_lives_through_one_of_every_fact() -> None:
    """A story with all kinds of fact that checkers ask for: nobody may fail, whatever they conclude."""
    story = Story()
    story.start_all()
    story.effective("o1", "SOFT", grace_ns=SECOND)
    story.learn(SIDECAR, "o1", "SOFT", grace_ns=SECOND)
    story.lease()
    story.spawn()
    story.intend()
    story.admit()
    story.apply()
    story.gate("DRAIN", "DRAINING")
    story.crash(SIDECAR)
    story.start(SIDECAR, boot="boot-2", instance="b")
    story.recover(SIDECAR, ["o1"])
    story.certify(SIDECAR, "c1", "o1")
    story.heal()
    story.at(90 * SECOND).end()
    findings = check(History(story.facts))
    assert [finding.why for finding in findings if "checker failed" in finding.why] == []
    assert len(findings) == len(CHECKERS)


class Raising(InvariantChecker):
    """Breaks wherever it is told to."""

    invariant = "S99"
    title = "a checker that fails"
    kinds = frozenset({"node-started"})
    breaks_at: ClassVar[str] = "see"

    def __init__(self, run: object) -> None:
        if self.breaks_at == "start":
            raise RuntimeError("in its first step")
        super().__init__(run)  # type: ignore[arg-type]

    def see(self, index: int, fact: Fact) -> None:
        if self.breaks_at == "see":
            raise RuntimeError("in the middle")

    def settle(self) -> None:
        raise RuntimeError("at the end")


@pytest.mark.parametrize("breaks_at", ["start", "see", "settle"])
def test_a_checker_that_raises_is_unknown_and_silences_nobody(breaks_at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Raising, "breaks_at", breaks_at)
    checkers: dict[str, type[Checker]] = {"S99": Raising, "S27": CHECKERS["S27"]}
    story = Story()
    story.start(SIDECAR)
    broken, whole = check(History(story.facts), checkers=checkers)
    assert (broken.verdict, whole.verdict, whole.examined) == (Verdict.UNKNOWN, Verdict.VALID, 1)
    assert "the checker failed" in broken.why


def test_without_a_topology_nothing_is_known() -> None:
    assert {finding.verdict for finding in check(History())} == {Verdict.UNKNOWN}


def test_a_fact_that_cannot_be_read_makes_all_unknown() -> None:
    story = Story()
    story.keep("replica/1", "never learned")
    findings = check(History(story.facts))
    assert {finding.verdict for finding in findings} == {Verdict.UNKNOWN}
    assert "fact 2 (order-durable) cannot be read" in findings[0].why


def test_unknown_invariants_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="no checker decides S77"):
        check(History(), ("S1", "S77"))


def test_findings_come_in_the_order_of_the_registry() -> None:
    assert [finding.invariant for finding in check(History(Story().facts), ("L10", "S1"))] == ["S1", "L10"]


def test_a_violation_is_known_while_the_run_goes_on() -> None:
    story = Story()
    story.learn(SIDECAR, "o1")
    story.admit()
    jury = Jury(("S3", "S1"))
    for fact in story.facts[:-1]:
        jury.see(fact)
    assert not jury.violated
    jury.see(story.facts[-1])
    assert list(jury.violated) == ["S3"]


def test_a_state_machine_that_raises_violates_determinism() -> None:
    story = Story()
    raised = story.say("step-raised", "replica/1", error="KeyError('x')")
    assert story.judged("S27").witness == (raised,)


# -- bounds


def test_bounds_are_whole_and_round_up() -> None:
    assert stretch(99, 10_000) == 100
    assert stretch(100, 10_000) == 102
    assert stretch(5 * SECOND, 0) == 5 * SECOND


def test_the_worked_example_of_the_protocol() -> None:
    """L = 5 s, G = 30 s, rho = .01: HARD 5.051 s, SOFT 30.31 s; W = 5.102 s on the fastest clock is 5.051 s of real time."""
    bounds = Bounds.of({**PARAMETERS, "drift_ppm": 10_000})
    assert round(bounds.hard_ns / SECOND, 3) == 5.051
    assert round(bounds.soft_ns(30 * SECOND) / SECOND, 2) == 30.30
    assert round(bounds.declare_ns(challenged=False) / SECOND, 3) == 5.051


def test_a_drift_without_bound_is_refused() -> None:
    with pytest.raises(ValueError, match="drift_ppm"):
        Bounds.of({**PARAMETERS, "drift_ppm": 1_000_000})


def test_what_a_history_does_not_tell_is_taken_at_its_slowest() -> None:
    told = {name: value for name, value in PARAMETERS.items() if name not in ("gossip_ns", "stop_timeout_ns")}
    bounds = Bounds.of(told)
    assert (bounds.gossip_ns, bounds.stop_timeout_ns) == (PARAMETERS["renew_ns"], PARAMETERS["grace_max_ns"])


# -- stop times


def test_stop_times_run_from_effective_to_the_last_admission_and_the_end_of_the_process() -> None:
    story = Story()
    story.spawn()
    story.admit()
    story.at(SECOND).effective("o1", "HARD")
    story.at(3 * SECOND).admit()
    story.at(4 * SECOND).reap()
    (stop,) = stop_times(History(story.facts))
    assert (stop.order, stop.agent, stop.severity) == ("o1", AGENT, "HARD")
    assert (stop.last_admission_ns, stop.reaped_ns, stop.bound_ns) == (2 * SECOND, 3 * SECOND, HARD_NS)


def test_an_isolated_process_is_not_reaped_and_nothing_after_is_zero() -> None:
    story = Story()
    story.spawn()
    story.effective("o1", "ISOLATE")
    story.at(SECOND).reap()
    (stop,) = stop_times(History(story.facts))
    assert (stop.severity, stop.last_admission_ns, stop.reaped_ns) == ("ISOLATE", 0, None)


def test_a_process_that_ended_between_learning_and_effect_took_no_time() -> None:
    story = Story()
    story.spawn()
    story.learn(SIDECAR, "o1")
    story.reap()
    story.at(SECOND).effective("o1")
    assert [stop.reaped_ns for stop in stop_times(History(story.facts))] == [0]


def test_stop_times_end_with_the_certificate() -> None:
    story = Story()
    story.effective("o1", "SOFT", grace_ns=8 * SECOND)
    story.at(SECOND).certify("replica/1", "c1", "o1")
    story.at(2 * SECOND).admit()
    (stop,) = stop_times(History(story.facts))
    assert (stop.last_admission_ns, stop.bound_ns) == (0, 10 * SECOND)
    assert stop_times(History()) == ()
