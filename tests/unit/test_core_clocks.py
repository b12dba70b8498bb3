"""Clocks that break their promise are noticed by those who own them, and a standby that lasts too long becomes a stop (protocol 2 T5, 3.5)."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from killswitch.core import drift, intent
from killswitch.core.certificates import ResumeSubmit
from killswitch.core.drift import Sight
from killswitch.core.intent import HARD
from killswitch.core.leases import PPM
from killswitch.core.messages import Gossip, LeaseReply, OrderPush
from killswitch.core.scopes import Scope
from killswitch.core.stamps import Stamps
from tests.unit import pair
from tests.unit.pair import AGENT, REPLICAS, SECOND, SIDECAR, Link, cell, cut_off, id_of, mode

ONE, TWO, THREE = REPLICAS
RHO = 200_000
WINDOW = pair.PARAMETERS.lease_ns
S_MAX = 20 * SECOND


# -- what two sights prove


@given(
    own=st.integers(-RHO, RHO), peers=st.integers(-RHO, RHO), gap=st.integers(1, 10**12), trips=st.tuples(*[st.integers(0, 10**10)] * 4),
    offset=st.integers(-(10**15), 10**15),
)  # fmt: skip
def test_clocks_that_keep_the_promise_are_never_doubted_whatever_the_network_does(
    own: int, peers: int, gap: int, trips: tuple[int, int, int, int], offset: int
) -> None:
    def mine(at: int) -> int:
        return at * (PPM + own) // PPM

    def theirs(at: int) -> int:
        return offset + at * (PPM + peers) // PPM

    sights = [Sight("b", mine(at - before), mine(at + after), theirs(at)) for at, before, after in ((0, *trips[:2]), (gap, *trips[2:]))]
    assert not drift.beyond(sights[0], sights[1], RHO)


@pytest.mark.parametrize(("ran", "proven"), [(1500, False), (1501, True), (667, False), (666, True)])
def test_the_band_is_exactly_that_of_t5(ran: int, proven: bool) -> None:
    """(1+rho)/(1-rho) = 3/2 and its inverse, for 1000 ms of one's own clock, known to the nanosecond."""
    ms = 1_000_000
    assert Fraction(PPM + RHO, PPM - RHO) == Fraction(3, 2)
    assert drift.beyond(Sight("b", 0, 0, 0), Sight("b", 1000 * ms, 1000 * ms, ran * ms), RHO) is proven


def monitor(*sights: Sight) -> drift.Monitor:
    watched = drift.Monitor()
    for sight in sights:
        drift.compare(watched, ONE, sight, RHO, WINDOW)
    return watched


def test_a_doubt_lasts_a_window_and_a_new_boot_of_the_peer_is_none() -> None:
    first = Sight("b", 0, 0, 0)
    doubted = monitor(first, Sight("b", SECOND, SECOND, 3 * SECOND))
    assert doubted.watches[ONE].doubted_until_ns == SECOND + WINDOW
    assert monitor(first, Sight("c", SECOND, SECOND, 3 * SECOND)).watches[ONE].doubted_until_ns == drift.NEVER
    again = [first, Sight("b", SECOND, SECOND, 3 * SECOND), Sight("b", 2 * SECOND, 2 * SECOND, 4 * SECOND)]
    assert monitor(*again).watches[ONE].doubted_until_ns == SECOND + WINDOW, "from the doubt on, the clocks are compared anew"


def test_an_answer_that_was_overtaken_proves_nothing() -> None:
    late = [Sight("b", 0, 0, 0), Sight("b", 2 * SECOND, 2 * SECOND, 2 * SECOND), Sight("b", SECOND, 3 * SECOND, SECOND)]
    assert monitor(*late).watches[ONE].doubted_until_ns == drift.NEVER
    assert monitor(*late).watches[ONE].last == late[1], "the next one is compared with the newest"


# -- a sidecar


def test_a_sidecar_whose_clock_no_quorum_agrees_with_isolates_itself_and_recovers() -> None:
    link = cell()
    link.run(WINDOW)
    for replica in REPLICAS:
        link[replica].state.boot = "boot-1"
    answer_as_if(link, 30 * SECOND, ONE)
    assert mode(link) == ("OPEN", "RUNNING"), "one replica may be wrong"
    answer_as_if(link, 30 * SECOND, TWO)
    assert mode(link) == ("CLOSED", "STANDBY")
    assert link[SIDECAR].observed("clock-suspected") == [{"peers": [ONE, TWO]}]
    assert "CLOCK_SUSPECT" in link[SIDECAR].kinds()
    link.run(WINDOW // 2)
    assert mode(link) == ("CLOSED", "STANDBY")
    link.run(3 * WINDOW)
    assert mode(link) == ("OPEN", "RUNNING")
    assert link[SIDECAR].kinds().count("CLOCK_TRUSTED") == 1


def answer_as_if(link: Link, ahead_ns: int, replica: str) -> None:
    """A stamp of a replica that is ahead of where it can be."""
    nonce = list(link[SIDECAR].state.rounds)[-1]
    token = link[SIDECAR].state.token
    link.tell(SIDECAR, LeaseReply(AGENT, nonce, token, replica, 0, "", "", token, link.now + ahead_ns, boot="boot-1"), replica)


def test_a_stamp_of_no_round_of_ours_or_without_a_boot_is_nothing() -> None:
    link = cell()
    link.run(WINDOW)
    token = link[SIDECAR].state.token
    nonce = list(link[SIDECAR].state.rounds)[-1]
    for replica in REPLICAS:
        link.tell(SIDECAR, LeaseReply(AGENT, "no such round", token, replica, 0, "", "", token, 10**15, boot="boot-1"), replica)
        link.tell(SIDECAR, LeaseReply(AGENT, nonce, token, replica, 0, "", "", token, 10**15), replica)
    assert mode(link) == ("OPEN", "RUNNING")


# -- a replica


def gossip_as_if(link: Link, ahead_ns: int, peer: str, to: str = ONE) -> None:
    link.tell(to, Gossip("", clocks=Stamps("boot-1", link.now + ahead_ns, link[to].state.boot, link.now)), peer)


def test_a_replica_that_disagrees_with_most_of_its_peers_grants_nothing_and_waits_anew() -> None:
    link = cell()
    link.run(WINDOW)
    hard = pair.order(HARD)
    link.cut = cut_off(SIDECAR)
    link.tell(ONE, Gossip("", orders=(hard,)), TWO)
    assert id_of(hard) in link[ONE].state.seen
    gossip_as_if(link, 90 * SECOND, TWO)
    assert not link[ONE].observed("clock-suspected")
    gossip_as_if(link, 90 * SECOND, THREE)
    assert link[ONE].observed("clock-suspected") == [{"peers": [TWO, THREE]}]
    link.cut = lambda sender, to, message: False
    assert not link[ONE].state.seen, "what was measured on that clock was not measured"
    assert link[ONE].state.booted_ns == link.now
    link.run(3 * WINDOW)
    assert link[ONE].kinds().count("CLOCK_TRUSTED") == 1


def test_a_wait_that_was_over_on_a_doubted_clock_is_not_told_before_it_has_been_waited_anew() -> None:
    link = cell()
    link.run(WINDOW)
    hard = pair.order(HARD)
    link.cut = lambda sender, to, message: to != ONE
    link.tell(ONE, Gossip("", orders=(hard,)), TWO)
    link.tell(ONE, Gossip("", waited=(id_of(hard),)), THREE)
    link.run(2 * WINDOW)
    assert link[ONE].state.waited == {id_of(hard): {ONE, THREE}}
    gossip_as_if(link, 90 * SECOND, TWO)
    gossip_as_if(link, 90 * SECOND, THREE)
    assert link[ONE].state.clock.suspected
    assert link[ONE].state.waited == {id_of(hard): {THREE}}
    said = len(link[ONE].sent(Gossip))
    link.run(SECOND)
    assert link[ONE].sent(Gossip)[said:] and not any(message.waited for message in link[ONE].sent(Gossip)[said:])
    link.run(4 * WINDOW)
    assert link[ONE].state.waited == {id_of(hard): {ONE, THREE}}
    assert link[ONE].sent(Gossip)[-1].waited == (id_of(hard),)


def test_a_suspected_replica_denies_and_says_why() -> None:
    link = cell()
    link.run(WINDOW)
    link[ONE].state.clock.suspected, link[ONE].state.clock.until_ns = True, 10**18
    link.run(SECOND)
    assert link[ONE].sent(LeaseReply)[-1].why == "clock suspect"
    assert link[ONE].sent(LeaseReply)[-1].len_ns == 0
    assert mode(link) == ("OPEN", "RUNNING"), "two others grant"


# -- S_max


def stood(link: Link, span_ns: int) -> None:
    """The sidecar hears nobody for a time."""
    link.cut = cut_off(SIDECAR)
    link.run(span_ns)
    link.cut = lambda sender, to, message: False


def limited() -> Link:
    return cell(parameters=structs.replace(pair.PARAMETERS, standby_max_ns=S_MAX))


def test_a_standby_longer_than_s_max_becomes_a_stop_that_only_a_certificate_lifts() -> None:
    link = limited()
    stood(link, WINDOW + S_MAX - SECOND)
    assert mode(link) == ("CLOSED", "STANDBY")
    stood(link, 3 * SECOND)
    assert mode(link)[1] in ("QUIESCING", "STOPPED")
    (local,) = link[SIDECAR].state.intent.orders.values()
    assert (local.severity, local.order.signer, local.body.scope) == (intent.QUIESCE, SIDECAR, pair.THIS_AGENT)
    link.run(20 * SECOND)
    assert mode(link) == ("CLOSED", "STOPPED")
    assert all(local.id in link[replica].state.intent.orders for replica in REPLICAS), "approvers have to see it"
    for replica in REPLICAS:
        link.tell(replica, ResumeSubmit("r", pair.resume(local.order)), "operator")
    link.run(20 * SECOND)
    assert mode(link) == ("OPEN", "RUNNING")


def test_the_stop_survives_a_restart_of_the_sidecar() -> None:
    link = limited()
    stood(link, WINDOW + S_MAX + SECOND)
    link.boot(SIDECAR)
    link.run(20 * SECOND)
    assert mode(link)[0] == "CLOSED"
    assert len(link[SIDECAR].state.intent.orders) == 1


def test_short_spells_add_up_unless_a_run_of_s_max_lies_between() -> None:
    link = limited()
    for _ in range(2):
        stood(link, WINDOW + S_MAX // 2)
        link.run(S_MAX // 4)
        if not link[SIDECAR].state.intent.orders:
            assert mode(link) == ("OPEN", "RUNNING")
    stood(link, WINDOW + S_MAX // 2)
    assert len(link[SIDECAR].state.intent.orders) == 1
    patient = limited()
    for _ in range(3):
        stood(patient, WINDOW + S_MAX // 2)
        patient.run(S_MAX + 2 * SECOND)
    assert not patient[SIDECAR].state.intent.orders
    assert mode(patient) == ("OPEN", "RUNNING")


def test_an_isolation_that_was_ordered_does_not_count() -> None:
    link = limited()
    link.tell(SIDECAR, OrderPush((pair.order(intent.ISOLATE),), ()))
    link.run(3 * S_MAX)
    assert mode(link) == ("CLOSED", "STANDBY")
    assert len(link[SIDECAR].state.intent.orders) == 1


def test_an_isolation_that_is_lifted_or_comes_in_mid_standby_is_told_apart_from_it() -> None:
    ordered, cut = pair.order(intent.ISOLATE), limited()
    stood(cut, WINDOW + SECOND)
    assert mode(cut) == ("CLOSED", "STANDBY")
    assert cut[SIDECAR].state.standing.since_ns is not None
    cut.cut = cut_off(SIDECAR)
    cut.tell(SIDECAR, OrderPush((ordered,), ()))
    assert mode(cut) == ("CLOSED", "STANDBY")
    assert cut[SIDECAR].state.standing.since_ns is None, "a person decided that it waits"
    cut.run(2 * S_MAX)
    assert len(cut[SIDECAR].state.intent.orders) == 1
    cut.tell(SIDECAR, OrderPush((), (pair.resume(ordered),)))
    assert mode(cut) == ("CLOSED", "STANDBY")
    assert cut[SIDECAR].state.standing.since_ns is not None, "the order is gone, and nobody vouches"
    cut.run(S_MAX + SECOND)
    assert mode(cut)[1] in ("QUIESCING", "STOPPED")


@pytest.mark.parametrize(
    ("scope", "severity", "signer", "believed"),
    [
        (pair.THIS_AGENT, intent.QUIESCE, SIDECAR, True),
        (pair.THIS_AGENT, HARD, SIDECAR, False),
        (pair.WHOLE_TENANT, intent.QUIESCE, SIDECAR, False),
        (pair.THIS_AGENT, intent.QUIESCE, "sidecar/acme/2", False),
    ],
)
def test_a_sidecar_stops_its_own_agent_and_nobody_else_and_kills_nobody(scope: Scope, severity: intent.Severity, signer: str, believed: bool) -> None:
    link = Link(*REPLICAS)
    link.boot()
    own = pair.order(severity, scope=scope, signer=signer)
    link.tell(ONE, OrderPush((own,), ()), signer)
    assert (id_of(own) in link[ONE].state.intent.orders) is believed
