"""A sidecar whose network is slow: which answers still count, and how long a sink is given to answer (protocol 2, 4)."""

from __future__ import annotations

import pytest
from msgspec import structs

from killswitch.core import leases
from killswitch.core.events import Timer
from killswitch.core.machine import Parameters
from killswitch.core.messages import LeaseReply, LeaseRequest, Query, QueryResult, ResolveRequest, ResolveResult
from tests.unit import pair
from tests.unit.pair import AGENT, AGENT_NODE, LEDGER, REPLICAS, SECOND, SIDECAR, SINKS, Link, mode

RENEW = pair.PARAMETERS.renew_ns
LONG = structs.replace(pair.PARAMETERS, lease_ns=60 * SECOND)


def unheard(parameters: Parameters = LONG) -> Link:
    """A sidecar with a process, cut off from everybody, whose lease has run out."""
    link = Link(*REPLICAS, *SINKS, SIDECAR, parameters=parameters, agent_boots=False)
    link.boot()
    link.run(3 * SECOND)
    link.cut = pair.cut_off(SIDECAR)
    link.reaps = False
    link.run(parameters.lease_ns)
    assert mode(link) == ("CLOSED", "STANDBY")
    return link


def answer(link: Link, asked: LeaseRequest) -> None:
    length = link[SIDECAR].state.parameters.lease_ns
    for replica in REPLICAS:
        link.tell(SIDECAR, LeaseReply(AGENT, asked.nonce, asked.token, replica, length, "", asked.view, asked.token, 0), replica)


@pytest.mark.parametrize("renewals", [1, 8, 9, 20, 59])
def test_an_answer_counts_for_as_long_as_a_lease_lasts_from_its_request(renewals: int) -> None:
    link = unheard()
    link.give(SIDECAR, Timer("renew"))
    asked, sent_ns = link[SIDECAR].sent(LeaseRequest, REPLICAS[0])[-1], link.now
    link.run(renewals * RENEW)
    answer(link, asked)
    assert mode(link) == ("OPEN", "RUNNING")
    assert link[SIDECAR].state.lease_until_ns == sent_ns + LONG.lease_ns


def test_no_round_is_kept_that_is_as_old_as_a_lease() -> None:
    link = unheard()
    link.run(3 * LONG.lease_ns)
    rounds = link[SIDECAR].state.rounds
    assert len(rounds) == LONG.lease_ns // RENEW
    newest = max(each.sent_ns for each in rounds.values())
    assert all(newest - each.sent_ns < LONG.lease_ns for each in rounds.values())


def test_however_many_renewals_a_lease_is_long_the_rounds_that_are_kept_have_a_limit() -> None:
    link = unheard(structs.replace(pair.PARAMETERS, renew_ns=pair.PARAMETERS.lease_ns // (2 * leases.ROUNDS_MAX)))
    assert len(link[SIDECAR].state.rounds) == leases.ROUNDS_MAX


def in_doubt(trip_ns: int) -> Link:
    """The agent asks what became of an effect, over a network that takes so long."""
    link = unheard()
    link.boot(SIDECAR)
    asked = link[SIDECAR].sent(LeaseRequest, REPLICAS[0])[-1]
    link.run(trip_ns)
    answer(link, asked)
    link.tell(SIDECAR, ResolveRequest("k", LEDGER), AGENT_NODE)
    return link


@pytest.mark.parametrize(("trip_ns", "waits"), [(0, 3), (RENEW, 3), (2 * RENEW, 4), (10 * RENEW, 20)])
def test_a_sink_is_asked_three_times_at_least_and_until_an_answer_could_be_here_twice_over(trip_ns: int, waits: int) -> None:
    link = in_doubt(trip_ns)
    link.run(waits * RENEW - 1)
    assert not link[SIDECAR].sent(ResolveResult)
    link.run(1)
    assert link[SIDECAR].sent(ResolveResult) == [ResolveResult("k", "IN_DOUBT")]
    assert len(link[SIDECAR].sent(Query)) == waits


def test_the_answer_to_the_first_question_is_waited_for_over_a_slow_network() -> None:
    link = in_doubt(10 * RENEW)
    asked = link[SIDECAR].sent(Query)[0]
    link.run(10 * RENEW)
    link.tell(SIDECAR, QueryResult(LEDGER, "k", "ABSENT", nonce=asked.nonce), LEDGER)
    assert link[SIDECAR].sent(ResolveResult) == [ResolveResult("k", "ABSENT")]


def test_an_answer_that_is_later_than_others_were_makes_no_question_longer() -> None:
    link = in_doubt(0)
    link.give(SIDECAR, Timer("renew"))
    late = link[SIDECAR].sent(LeaseRequest, REPLICAS[0])[-1]
    link.run(2 * RENEW)
    answer(link, late)
    link.run(RENEW)
    assert link[SIDECAR].sent(ResolveResult) == [ResolveResult("k", "IN_DOUBT")]


def test_a_network_that_becomes_faster_is_waited_for_as_it_is_now() -> None:
    link = in_doubt(10 * RENEW)
    link.give(SIDECAR, Timer("renew"))
    answer(link, link[SIDECAR].sent(LeaseRequest, REPLICAS[0])[-1])
    link.run(3 * RENEW)
    assert link[SIDECAR].sent(ResolveResult) == [ResolveResult("k", "IN_DOUBT")]
