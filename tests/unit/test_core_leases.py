"""Lease arithmetic: spans and drains at the replica, rounds at the sidecar, and bounds rounded to the safe side (protocol 2)."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations

import pytest

from killswitch.core import intent, leases
from killswitch.core.intent import HARD, ISOLATE, QUIESCE, SOFT, KnownOrder, Severity
from killswitch.core.machine import Parameters
from tests.unit import pair

L = 5 * pair.SECOND
NOW = 100 * pair.SECOND


def known(severity: Severity, grace_ns: int = 30 * pair.SECOND) -> KnownOrder:
    order = intent.read_order(pair.order(severity, grace_ns=grace_ns))
    assert order is not None
    return order


@pytest.mark.parametrize("severity", [ISOLATE, QUIESCE, HARD])
def test_a_closed_gate_is_granted_nothing(severity: Severity) -> None:
    assert leases.span([known(severity)], lambda _: NOW, NOW, L) == 0
    assert leases.span([known(SOFT), known(severity)], lambda _: NOW, NOW, L) == 0


def test_nothing_ordered_is_granted_a_full_lease() -> None:
    assert leases.span([], lambda _: None, NOW, L) == L


@pytest.mark.parametrize(
    ("grace_ns", "seen_ago_ns", "length"),
    [
        (30, 0, 5), (30, 25, 5), (30, 26, 4), (30, 29, 1), (30, 30, 0), (30, 31, 0), (3, 0, 3), (0, 0, 0), (-7, 0, 0), (30, None, 0),
    ],
)  # fmt: skip
def test_a_drain_is_leased_no_longer_than_grace_is_left(grace_ns: int, seen_ago_ns: int | None, length: int) -> None:
    seen = None if seen_ago_ns is None else NOW - seen_ago_ns * pair.SECOND
    assert leases.span([known(SOFT, grace_ns * pair.SECOND)], lambda _: seen, NOW, L) == length * pair.SECOND


def test_the_shortest_of_several_drains_counts() -> None:
    orders = [known(SOFT, grace) for grace in (9 * pair.SECOND, 2 * pair.SECOND, 4 * pair.SECOND)]
    assert leases.span(orders, lambda _: NOW - pair.SECOND, NOW, L) == pair.SECOND


def test_a_lease_counts_from_its_request_by_its_shortest_grant() -> None:
    round_ = leases.Round(NOW)
    round_.grants = {"replica/1": L, "replica/2": 3, "replica/3": L}
    assert leases.until(round_, NOW + 10 * pair.SECOND) == NOW + 3


def test_one_replica_counts_once_however_often_it_grants() -> None:
    round_ = leases.Round(NOW)
    for _ in range(5):
        round_.grants["replica/1"] = L
    assert not leases.enough(round_.grants, 2)
    round_.grants["replica/2"] = L
    assert leases.enough(round_.grants, 2)


@pytest.mark.parametrize(
    ("n", "k", "q", "meets"),
    [
        (3, 2, 2, True),
        (5, 3, 3, True),
        (5, 2, 4, True),
        (1, 1, 1, True),
        (3, 1, 2, False),
        (4, 3, 2, False),
        (3, 2, 4, False),
        (3, 0, 3, False),
        (3, 4, 2, False),
    ],
)
def test_which_quorums_meet(n: int, k: int, q: int, meets: bool) -> None:
    assert leases.quorums_intersect(n, k, q) is meets
    if 0 < k <= n and 0 < q <= n:
        disjoint = any(not set(kill) & set(lease) for kill in combinations(range(n), k) for lease in combinations(range(n), q))
        promises_miss = any(not set(one) & set(two) for one in combinations(range(n), q) for two in combinations(range(n), q))
        assert meets is not (disjoint or promises_miss)


@pytest.mark.parametrize("drift_ppm", [0, 1, 10_000, 50_000, 300_000, 333_333, 999_999])
@pytest.mark.parametrize("lease_ns", [1, 7, 999_999_999, L])
def test_bounds_are_exact_but_for_rounding_up(lease_ns: int, drift_ppm: int) -> None:
    rho = Fraction(drift_ppm, 1_000_000)
    parameters = Parameters(lease_ns=lease_ns, drift_ppm=drift_ppm)
    for bound, exact in (
        (leases.residue_ns(parameters), lease_ns * (1 + rho) / (1 - rho)),
        (leases.hard_bound_ns(parameters), lease_ns / (1 - rho)),
        (leases.soft_bound_ns(parameters, 3 * lease_ns), 3 * lease_ns / (1 - rho)),
        (leases.soft_bound_ns(parameters, 0), lease_ns / (1 - rho)),
    ):
        assert exact <= bound < exact + 1


def test_the_figures_of_the_protocol() -> None:
    parameters = Parameters(lease_ns=L, drift_ppm=10_000)
    assert leases.hard_bound_ns(parameters) == 5_050_505_051
    assert leases.soft_bound_ns(parameters, 30 * pair.SECOND) == 30_303_030_304
    assert leases.residue_ns(parameters) == 5_101_010_102
