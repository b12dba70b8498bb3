"""The replica: what it may say of orders and agents, what waiting calls for, and resumes: honest, and never early (protocol 3.7, 3.8, S20)."""

from __future__ import annotations

import pytest
from msgspec import structs

from killswitch.core import intent, trust
from killswitch.core.certificates import ResumeStatus, ResumeSubmit
from killswitch.core.intent import HARD, ISOLATE, SOFT
from killswitch.core.messages import Fence, FenceAck, Gossip, StartRequest, Token
from killswitch.core.replica import orders
from killswitch.core.scopes import Scope
from tests.unit import pair
from tests.unit.one_sided import (
    FIRST,
    GREATER,
    ONE,
    RESIDUE,
    SLACK,
    THREE,
    TWO,
    accept,
    alone,
    control_plane,
    draft,
    drafts,
    promise,
    proof,
    request,
    told,
)
from tests.unit.pair import AGENT, LEDGER, POST, REPLICAS, SECOND, SIDECAR, TRUST, id_of

# -- evidence, fences, and what is said of agents ------------------------------------------------------------------------------------------


def test_evidence_is_told_once_and_never_taken_back() -> None:
    """Signals overtake each other: a proof of a closed gate that arrives after that of the stop is no news."""
    link = control_plane()
    link.tell(ONE, request(SOFT), "operator")
    order = next(iter(link[ONE].state.intent.orders.values())).order
    for stage in ("STOPPED_CLEAN", "DRAINING", "STOPPED_CLEAN", "DRAINING"):
        link.tell(ONE, proof(order, stage), SIDECAR)
    assert told(link) == [(AGENT, "STOPPED_CLEAN")]
    assert link[ONE].kinds().count("EVIDENCE") == 1
    promise(link, FIRST)
    link.run(40 * SECOND)
    assert "ESCALATED" not in link[ONE].kinds()


def test_what_became_of_each_agent_is_told_a_few_times_more_for_nobody_answers_it() -> None:
    link = control_plane()
    link.tell(ONE, request(SOFT), "operator")
    order = next(iter(link[ONE].state.intent.orders.values())).order
    link.tell(ONE, proof(order, "DRAINING"), SIDECAR)
    link.tell(ONE, proof(order, "STOPPED_CLEAN"), SIDECAR)
    assert told(link) == [(AGENT, "DRAINING"), (AGENT, "STOPPED_CLEAN")]
    link.run(20 * SECOND)
    assert told(link)[2:] == [(AGENT, "STOPPED_CLEAN")] * (orders.TOLD_AGAIN + 1)
    assert not link[ONE].state.telling


def test_what_is_concluded_of_an_agent_takes_no_proofs_place_when_both_are_told_again() -> None:
    link = control_plane()
    link.tell(ONE, request(HARD), "operator")
    order = next(iter(link[ONE].state.intent.orders))
    link.tell(ONE, proof(link[ONE].state.intent.orders[order].order, "STOPPED_FORCED"), SIDECAR)
    orders.tell_agent(link[ONE].state, order, AGENT, FIRST, "FENCED")
    before = len(told(link))
    link.run(20 * SECOND)
    again = [stage for _, stage in told(link)[before:]]
    assert again.count("STOPPED_FORCED") == orders.TOLD_AGAIN + 1
    assert again.count("FENCED") >= orders.TOLD_AGAIN


def test_evidence_counts_from_the_agents_own_sidecar_alone() -> None:
    link = control_plane()
    link.tell(ONE, request(SOFT), "operator")
    order = next(iter(link[ONE].state.intent.orders.values())).order
    forged = structs.replace(proof(order, "STOPPED_CLEAN"), signature=b"")
    for message, sender in (
        (forged, SIDECAR),
        (proof(order, "STOPPED_CLEAN"), "sidecar/acme/2"),
        (proof(order, "STOPPED_CLEAN", by="sidecar/acme/2"), "sidecar/acme/2"),
        (structs.replace(proof(order, "DRAINING"), stage="STOPPED_CLEAN"), SIDECAR),
    ):
        link.tell(ONE, message, sender)
    assert told(link) == []


def test_an_old_starts_stop_does_not_stop_a_later_start() -> None:
    link = control_plane()
    promise(link, GREATER, nodes=REPLICAS)
    link.tell(ONE, request(SOFT, grace_ns=SECOND), "operator")
    order = next(iter(link[ONE].state.intent.orders.values())).order
    link.tell(ONE, proof(order, "STOPPED_CLEAN", FIRST), SIDECAR)
    link.run(SECOND + SLACK)
    assert "ESCALATED" in link[ONE].kinds()


def test_fenced_is_said_when_every_fence_holds() -> None:
    link = control_plane()
    sinks = {LEDGER: "F", "sink/acme/second": "F", POST: "U"}
    for node in REPLICAS:
        link[node].config = structs.replace(link[node].config, sinks=sinks)
    link.boot()
    promise(link, FIRST, nodes=REPLICAS)
    link.tell(ONE, request(HARD, scope=pair.THIS_AGENT), "operator")
    fences = link[ONE].sent(Fence)
    assert {fence.min_token for fence in fences} == {Token(1, 2, "")}
    assert not link[ONE].sent(Fence, POST)
    held = Token(1, 2, "")
    link.tell(ONE, FenceAck(LEDGER, AGENT, held), LEDGER)
    link.tell(ONE, FenceAck("sink/acme/second", AGENT, held), LEDGER)
    link.tell(ONE, FenceAck("sink/acme/second", AGENT, FIRST), "sink/acme/second")
    assert told(link) == []
    link.tell(ONE, FenceAck("sink/acme/second", AGENT, held), "sink/acme/second")
    assert told(link) == [(AGENT, "FENCED")]
    assert link[ONE].kinds().count("FENCE_ACKED") == 2


def test_a_sink_that_stands_at_a_starts_own_fence_is_fenced_above_it_before_the_agent_counts_as_fenced() -> None:
    """A replica that missed a start would call it shut out by the very fence that lets it in (S20)."""
    link = control_plane()
    promise(link, FIRST, nodes=REPLICAS)
    link.tell(ONE, request(HARD, scope=pair.THIS_AGENT), "operator")
    link.tell(ONE, FenceAck(LEDGER, AGENT, Token(1, 3, "missed")), LEDGER)
    assert told(link) == []
    link.run(2 * SECOND)
    assert link[ONE].sent(Fence)[-1].min_token == Token(1, 4, "")
    link.tell(ONE, FenceAck(LEDGER, AGENT, Token(1, 4, "")), LEDGER)
    assert told(link) == [(AGENT, "FENCED")]


@pytest.mark.parametrize("proof_first", [True, False])
def test_whoever_outlives_a_soft_stop_is_fenced_whichever_is_heard_of_first(proof_first: bool) -> None:
    """A replica that was cut off from its peers may have the proof from the sidecar long before it has the order (L2)."""
    link = alone()
    promise(link, FIRST)
    soft = pair.order(SOFT, scope=pair.THIS_AGENT)
    if proof_first:
        link.tell(ONE, proof(soft, "KILL_FAILED"), SIDECAR)
    else:
        accept(link, soft)
    assert not link[ONE].sent(Fence)
    if proof_first:
        accept(link, soft)
    else:
        link.tell(ONE, proof(soft, "KILL_FAILED"), SIDECAR)
    assert [fence.min_token for fence in link[ONE].sent(Fence, LEDGER)] == [Token(1, 2, "")]


def test_fences_are_pressed_until_they_hold_or_the_order_is_lifted() -> None:
    link = alone()
    hard = pair.order(HARD, scope=pair.THIS_AGENT)
    accept(link, hard)
    link.run(SECOND)
    pressed = len(link[ONE].sent(Fence))
    assert pressed >= 2
    link.tell(ONE, ResumeSubmit("r", pair.resume(hard, scope=pair.THIS_AGENT)), "operator")
    link.run(3 * SECOND)
    assert len(link[ONE].sent(Fence)) == pressed


# -- what time calls for -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", [pair.WHOLE_TENANT, pair.THIS_AGENT, Scope("label", "tier=gold"), pair.EVERYBODY])
def test_replicas_that_escalate_apart_make_the_same_order(scope: Scope) -> None:
    """And it reaches the agent, whatever the parent's scope was (L3)."""
    link = control_plane()
    promise(link, nodes=REPLICAS)
    for node in REPLICAS:
        accept(link, pair.order(SOFT, scope=scope, grace_ns=SECOND), node)
    link.cut = pair.cut_off(*REPLICAS)
    link.run(SECOND + SLACK)
    children = [set(link[node].state.intent.orders) - {id_of(pair.order(SOFT, scope=scope, grace_ns=SECOND))} for node in REPLICAS]
    assert len(children[0]) == 1
    assert children[0] == children[1] == children[2]
    assert intent.view(link[ONE].state.intent, link[ONE].state.fleet[AGENT]).severity == HARD
    for child in children[0]:
        assert trust.read_order(TRUST, link[ONE].state.intent.orders[child].order), "and any node believes it"


@pytest.mark.parametrize("maker", [ONE, TWO])
def test_who_asked_for_a_soft_order_is_told_of_what_it_becomes_whoever_makes_it(maker: str) -> None:
    link = control_plane()
    link.tell(ONE, request(SOFT), "operator")
    parent = next(iter(link[ONE].state.intent.orders.values()))
    body = orders.child_of(link[ONE].state, parent, AGENT)
    assert (body.issuer, body.decision, body.keyset, body.parent) == (parent.body.issuer, parent.body.decision, parent.body.keyset, parent.id)
    child = trust.sign_order(TRUST, maker, body)
    link.tell(ONE, Gossip("", orders=(child,)), TWO)
    link.tell(ONE, proof(child, "STOPPED_FORCED"), SIDECAR)
    assert told(link) == [(AGENT, "STOPPED_FORCED")]


def test_an_escalation_reaches_an_agent_of_another_tenant_than_the_order_was_issued_in() -> None:
    link = alone()
    link.tell(ONE, StartRequest("globex/1", FIRST, ""), "sidecar/globex/1")
    accept(link, pair.order(SOFT, scope=pair.EVERYBODY, tenant="acme", grace_ns=SECOND))
    link.run(SECOND + SLACK)
    assert intent.view(link[ONE].state.intent, link[ONE].state.fleet["globex/1"]).severity == HARD
    assert intent.view(link[ONE].state.intent, link[ONE].state.fleet[AGENT]).severity == SOFT, "acme's agent never started"


@pytest.mark.parametrize(("early_ns", "escalated"), [(1, False), (0, True)])
def test_when_a_soft_stop_is_escalated(early_ns: int, escalated: bool) -> None:
    link = alone()
    promise(link)
    accept(link, pair.order(SOFT, grace_ns=4 * SECOND))
    link.run(4 * SECOND + SLACK - early_ns)
    assert ("ESCALATED" in link[ONE].kinds()) is escalated


def test_a_restart_starts_the_wait_for_escalation_anew() -> None:
    link = alone()
    promise(link)
    accept(link, pair.order(SOFT, grace_ns=4 * SECOND))
    link.run(4 * SECOND)
    link.boot(ONE)
    link.run(4 * SECOND + SLACK - 1)
    assert "ESCALATED" not in link[ONE].kinds()
    link.run(1)
    assert "ESCALATED" in link[ONE].kinds()


def test_presumed_stopped_takes_k_acceptors_that_have_each_waited() -> None:
    link = control_plane()
    promise(link, nodes=REPLICAS)
    link.cut = lambda sender, to, message: to == THREE
    link.tell(ONE, request(HARD, scope=pair.THIS_AGENT), "operator")
    link.cut = lambda sender, to, message: to in (TWO, THREE) or (sender == TWO and isinstance(message, Gossip))
    link.run(RESIDUE)
    assert not link[ONE].observed("declared"), "one acceptor is not k"
    link.cut = lambda sender, to, message: to == THREE
    link.run(SECOND)
    assert link[ONE].observed("declared")
    assert (AGENT, "PRESUMED_STOPPED") in told(link)


def test_no_wait_is_over_early_and_a_restart_starts_it_anew() -> None:
    link = alone()
    hard = pair.order(HARD, scope=pair.THIS_AGENT)
    accept(link, hard)
    link.run(RESIDUE - 1)
    assert link[ONE].state.waited == {}
    link.boot(ONE)
    link.run(RESIDUE - 1)
    assert link[ONE].state.waited == {}
    link.run(1)
    assert link[ONE].state.waited == {id_of(hard): {ONE}}


def test_an_acceptor_whose_disk_was_slow_counts_once_it_holds_the_order() -> None:
    link = alone()
    hard = pair.order(HARD, scope=pair.THIS_AGENT)
    link[ONE].disk = "stuck"
    accept(link, hard)
    link.run(RESIDUE + SECOND)
    assert link[ONE].state.waited == {}
    link.sync(ONE)
    assert link[ONE].state.waited == {id_of(hard): {ONE}}


def test_an_isolated_agent_is_never_told_to_be_stopped() -> None:
    link = control_plane()
    promise(link, nodes=REPLICAS)
    link.tell(ONE, request(ISOLATE), "operator")
    link.run(3 * RESIDUE)
    assert link[ONE].observed("declared")
    assert told(link) == []


# -- resumes -------------------------------------------------------------------------------------------------------------------------------


def test_a_draft_shows_what_n_minus_k_plus_1_replicas_know() -> None:
    link = control_plane()
    hidden = pair.order(HARD, nonce="effective at the two others")
    link.cut = pair.cut_off(ONE)
    accept(link, hidden, TWO, THREE)
    link.tell(ONE, draft(), "operator")
    assert drafts(link) == [], "one replica is no n-k+1"
    link.cut = lambda sender, to, message: THREE in (sender, to)
    link.tell(ONE, draft(), "operator")
    (answer,) = drafts(link)
    body = trust.read_draft(answer.raw)
    assert body is not None
    assert (answer.stage, body.covers, answer.approvals_needed) == ("DRAFTED", (id_of(hidden),), 2)


def test_a_draft_lists_the_scope_and_nothing_beyond() -> None:
    link = control_plane()
    mine, tenants, everybodys = (pair.order(ISOLATE, scope=scope) for scope in (pair.THIS_AGENT, pair.WHOLE_TENANT, pair.EVERYBODY))
    for order in (mine, tenants, everybodys):
        accept(link, order)
    covers = {}
    for scope in (pair.THIS_AGENT, pair.WHOLE_TENANT, pair.EVERYBODY):
        link.tell(ONE, draft(scope), "operator")
        body = trust.read_draft(drafts(link)[-1].raw)
        assert body is not None
        covers[scope.kind] = set(body.covers)
    assert covers == {
        "agent": {id_of(mine)},
        "tenant": {id_of(mine), id_of(tenants)},
        "global": {id_of(everybodys)},  # everybody is shown it, and nobody is shown what another tenant stopped
    }


def test_drafts_that_come_to_nothing() -> None:
    link = control_plane()
    link.tell(ONE, draft(), "operator")
    link.tell(ONE, draft(by="bob"), "operator")
    link.tell(ONE, structs.replace(draft(), reason="forged"), "operator")
    assert [answer.stage for answer in drafts(link)] == ["NOTHING_TO_COVER", "REFUSED", "REFUSED"]


def test_a_certificate_that_misses_an_order_is_sent_back() -> None:
    link = alone()
    shown, unshown = pair.order(SOFT), pair.order(HARD)
    accept(link, shown)
    accept(link, unshown)
    link.tell(ONE, ResumeSubmit("r", pair.resume(shown)), "operator")
    status = link[ONE].sent(ResumeStatus)[-1]
    assert (status.stage, status.missing) == ("NEEDS_CONTEXT", (id_of(unshown),))
    assert not link[ONE].state.intent.certificates
    link.tell(ONE, ResumeSubmit("r", pair.resume(shown, unshown)), "operator")
    assert link[ONE].sent(ResumeStatus)[-1].stage == "ACCEPTED"


@pytest.mark.parametrize("approvers", [("bob",), ("bob", "bob"), ("bob", "alice"), ("bob", ONE), ()])
def test_a_resume_takes_distinct_approvers(approvers: tuple[str, ...]) -> None:
    link = alone()
    isolate = pair.order(ISOLATE)
    accept(link, isolate)
    link.tell(ONE, ResumeSubmit("r", pair.resume(isolate, approvers=approvers)), "operator")
    assert link[ONE].sent(ResumeStatus)[-1].stage == "REFUSED"
    link.tell(ONE, Gossip("", certificates=(pair.resume(isolate, approvers=approvers),)), TWO)
    assert not link[ONE].state.intent.certificates
