"""Theorems T1 and T4 on the functions of `leases` themselves: drifting integer clocks, any schedule of one lease round against one order.

The model is exact: time is in ticks, a clock is its rate in parts per million, readings are rounded against the protocol. A lease round is
sent at one real time, granted by each replica at its own, and what it allows is compared with when the order was effective.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from msgspec import Struct

from harness.planted.leases import full_drain_lease, half_is_enough, lease_from_receipt
from harness.planted.waits import waits_one_lease
from killswitch.core import intent, leases
from killswitch.core.intent import HARD, SOFT, KnownOrder, Severity
from killswitch.core.machine import Parameters
from tests.unit import pair

N, K, Q = 3, 2, 2
PPM = leases.PPM
LEASE = 1_000
GRACES = (0, 300, 1_000, 2_500)
DRIFTS = (0, 50_000, 300_000)
NEVER = 10**9


class Case(Struct, frozen=True):
    """Real times in ticks. ``accepted``: when each replica made the order durable (NEVER: not); ``granted``: when each answered."""

    drift_ppm: int
    severity: Severity
    grace: int
    sidecar_fast: bool
    replicas_fast: tuple[bool, bool, bool]
    accepted: tuple[int, int, int]
    sent: int
    granted: tuple[int, int, int]
    answers: int
    received_after: int


TIMES = st.integers(0, 4_000)
CASES = st.builds(
    Case,
    drift_ppm=st.sampled_from(DRIFTS),
    severity=st.sampled_from([HARD, SOFT]),
    grace=st.sampled_from(GRACES),
    sidecar_fast=st.booleans(),
    replicas_fast=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    accepted=st.tuples(TIMES, TIMES, TIMES | st.just(NEVER)),
    sent=TIMES,
    granted=st.tuples(TIMES, TIMES, TIMES),
    answers=st.integers(1, 7),
    received_after=st.integers(0, 2_000),
)


def reads(real: int, drift_ppm: int, *, fast: bool) -> int:
    """What a clock at the edge of the drift bound reads, in thousandths of a tick so that rounding is out of the picture."""
    return real * (PPM + drift_ppm if fast else PPM - drift_ppm) * 1_000 // PPM


@lru_cache
def known(severity: Severity, grace: int) -> KnownOrder:
    order = intent.read_order(pair.order(severity, grace_ns=grace * 1_000))
    assert order is not None
    return order


def effective_at(case: Case) -> int:
    return sorted(case.accepted)[K - 1]


def lease_end(case: Case) -> int | None:
    """The sidecar's reading at which the lease ends, or None if the round opens none. ``answers`` is a set of replicas, as bits."""
    drift = case.drift_ppm
    order = known(case.severity, case.grace)
    round_ = leases.Round(reads(case.sent, drift, fast=case.sidecar_fast))
    for replica in range(N):
        at = case.sent + case.granted[replica]
        clock = reads(at, drift, fast=case.replicas_fast[replica])
        seen = reads(case.accepted[replica], drift, fast=case.replicas_fast[replica])
        orders = [order] if case.accepted[replica] <= at else []
        length = leases.span(orders, lambda _, seen=seen: seen, clock, LEASE * 1_000)  # type: ignore[misc]  # bound in its own round
        if length > 0 and case.answers >> replica & 1:
            round_.grants[f"replica/{replica}"] = length
    if not leases.enough(round_.grants, Q):
        return None
    received = reads(case.sent + max(case.granted) + case.received_after, drift, fast=case.sidecar_fast)
    return leases.until(round_, received)


def bound_holds(case: Case) -> bool:
    """T1: at the promised bound after the order is effective, the lease is out."""
    end = lease_end(case)
    parameters = Parameters(lease_ns=LEASE, drift_ppm=case.drift_ppm)
    bound = leases.hard_bound_ns(parameters) if case.severity is HARD else leases.soft_bound_ns(parameters, case.grace)
    return end is None or reads(effective_at(case) + bound + 1, case.drift_ppm, fast=case.sidecar_fast) >= end


def wait_is_enough(case: Case) -> bool:
    """T4: once the k acceptors have each outwaited the residue since they accepted, no lease that they took part in is live."""
    end = lease_end(case)
    if end is None or case.severity is not HARD:
        return True
    residue = leases.residue_ns(Parameters(lease_ns=LEASE, drift_ppm=case.drift_ppm))
    acceptors = sorted(range(N), key=lambda replica: case.accepted[replica])[:K]
    presumed = max(case.accepted[each] + waits(residue, case, each) for each in acceptors)
    return reads(presumed + 1, case.drift_ppm, fast=case.sidecar_fast) >= end


def waits(span: int, case: Case, replica: int) -> int:
    """Real ticks until a replica's clock has gone on by ``span``."""
    rate = PPM + case.drift_ppm if case.replicas_fast[replica] else PPM - case.drift_ppm
    return -(-span * PPM // rate)


@settings(max_examples=600)
@given(CASES)
def test_t1_no_lease_outlasts_the_bound(case: Case) -> None:
    assert bound_holds(case)


@settings(max_examples=600)
@given(CASES)
def test_t4_the_residue_is_long_enough(case: Case) -> None:
    assert wait_is_enough(case)


# All extremes at once, which is where drift bugs hide: every clock fast or slow, grants just before or just after the order.
CORNERS = [
    Case(drift, severity, grace, bool(bits & 1), (bool(bits & 2), bool(bits & 4), bool(bits & 8)), accepted, sent, granted, answers, 0)
    for drift in DRIFTS[1:]
    for severity, grace in [(HARD, 0), *((SOFT, grace) for grace in GRACES)]
    for bits in range(16)
    for accepted in [(1_000, 1_000, NEVER), (1_000, 1_001, 1_002)]
    for sent in (0, 999, 1_000, 1_500)
    for granted in [(0, 0, 0), (0, 1, 0), (600, 0, 600)]
    for answers in (3, 5, 6, 7)
]


def test_both_theorems_hold_at_every_corner() -> None:
    assert all(bound_holds(case) and wait_is_enough(case) for case in CORNERS)


def breaks(law: Callable[[Case], bool]) -> bool:
    """Random cases find most mistakes; a wait that is too short by the drift of two clocks shows only in a corner."""
    if any(not law(case) for case in CORNERS):
        return True
    try:
        find(CASES, lambda case: not law(case), settings=settings(database=None, derandomize=True, max_examples=2_000))
    except NoSuchExample:
        return False
    return True


@pytest.mark.parametrize(
    ("function", "mistake", "law"),
    [
        ("until", lease_from_receipt, bound_holds),
        ("enough", half_is_enough, bound_holds),
        ("span", full_drain_lease, bound_holds),
        ("residue_ns", waits_one_lease, wait_is_enough),
    ],
)
def test_the_laws_see_the_mistakes_that_people_make(
    function: str, mistake: Callable[..., object], law: Callable[[Case], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, function, mistake)
    assert breaks(law)
