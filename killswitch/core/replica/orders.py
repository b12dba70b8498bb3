"""Orders at a replica: from a person's request to an effective order, its escalation, and what may be said of each agent (protocol 3.7).

Owns the life of an order in the control plane and the honesty of its status (S20). Must not know how news travels (``dispatch``).

    stage            said when
    ACCEPTED         this replica holds the order durably
    EFFECTIVE        k replicas are known to hold it durably: from here theorem T1 counts
    GATE_CLOSED ...  the agent's own sidecar signed it
    FENCED           every class F sink of the agent acknowledged a fence above its token
    PRESUMED_STOPPED k acceptors have each outwaited every lease since their own accept (T4)
"""

from __future__ import annotations

from typing import Final

from msgspec import structs

from killswitch.core import codec, federation, intent, keys, leases, policy, traffic, trust
from killswitch.core.countersigns import COUNTERSIGNATURES_MAX, CountersignedRequest, Countersignature
from killswitch.core.events import SetTimer
from killswitch.core.cells import CellStatus
from killswitch.core.intent import KnownOrder
from killswitch.core.machine import Cell
from killswitch.core.messages import NO_TOKEN, AgentStatus, Evidence, Gate, Life, OrderBody, OrderRequest, OrderStatus, Token
from killswitch.core.outlet import observe, parts, record, send
from killswitch.core.replica import dispatch, rollouts
from killswitch.core.replica.state import (
    REQUESTS_MAX, Replica, concerned, greatest_token, is_stopped, learn_order, residue_ns, uncovered,
)  # fmt: skip
from killswitch.core.rollout import Answer
from killswitch.core.scopes import Scope
from killswitch.core.traffic import Tries

TOLD_AGAIN: Final = 3  # times more, after a first one with the next round of gossip
STAGES: Final = {"GATE_CLOSED": 1, "DRAINING": 1, "KILL_FAILED": 2, "STOPPED_CLEAN": 3, "STOPPED_FORCED": 3}


# -- issuing -----------------------------------------------------------------------------------------------------------------------------


def on_order_request(state: Replica, request: OrderRequest, sender: str, now_ns: int) -> None:
    """Authenticate, ask the policy, sign, accept. The same request, of one person, name and content, gives the same order, here and, under one
    policy, at every replica."""
    issue(state, request, None, sender, now_ns)


def on_countersigned(state: Replica, message: CountersignedRequest, sender: str, now_ns: int) -> None:
    """The same, asked for by further people as well. What the first one asked for alone is in force, or comes into force with this. Whoever did not
    sign for himself has nobody else's signature looked at."""
    request = trust.read_countersigned(message)
    if request is not None:
        believed = trust.believes_request(state.trust, request)
        people = trust.countersigners(state.trust, request, message.countersignatures) if believed else {}
        issue(state, request, tuple(people.values()), sender, now_ns)


def issue(state: Replica, request: OrderRequest, signatures: tuple[Countersignature, ...] | None, sender: str, now_ns: int) -> None:
    """Order what the policy makes of a request. Where that wants more keys than ask, it is ISOLATE at once, and the answer says how many more.
    ``signatures``: of each further person one, verified; `None`, if nobody was asked to sign."""
    completing = signatures is not None
    before = order_before(state, request)
    if before is not None:
        answer_again(state, before, request, sender)
        return
    asked, answer, keys_wanted = ruled(state, request, signatures or ())
    ruling = answer.ruling
    if not ruling.allowed:
        rollouts.record_refusal(state, request.request, asked, answer, sender, now_ns)
        send(state, sender, OrderStatus(request.request, "", "REFUSED", 0, refusal(state, request)))
        return
    body = OrderBody(
        tenant=request.tenant, scope=request.scope, gate=ruling.gate, life=ruling.life, grace_ns=ruling.grace_ns, issuer=request.principal,
        nonce=nonce_of(request), reason=request.reason, cleanup=request.cleanup, decision=ruling.decision,
    )  # fmt: skip
    order = trust.sign_order(state.trust, state.node, body)
    order_id = intent.content_id(order.raw)
    if completing and keys_wanted:
        send(state, sender, OrderStatus(request.request, order_id, "NEEDS_KEYS", 0, "not enough distinct people who may ask", keys_wanted))
    known = intent.read_order(order)
    if known is not None and (order_id in state.intent.orders or intent.is_lifted(state.intent, known)):
        answer_again(state, known, request, sender, keys_wanted)
        return
    remember_asker(state, order_id, request.request, sender, keys_wanted)
    if learn_order(state, order, state.node, now_ns):
        rollouts.record_decision(state, request.request, asked, answer, now_ns, order_id, countersigned(request, asked, signatures or ()))
        dispatch.spread(state, (order,))
        after_accept(state, order_id, now_ns)


def ruled(state: Replica, request: OrderRequest, signatures: tuple[Countersignature, ...]) -> tuple[policy.Request, Answer, int]:
    """What is asked of the policy, its answer, and how many keys are missing: with as few keys as it is content with, so that replicas that hear of
    different ones make the same order of it; and if all of them are too few, with one key."""
    asked = question(state, request)
    alone = rollouts.decide(state, asked)
    missing = more_keys(state, asked, alone)
    for asking in range(2, len(signatures) + 2) if missing else ():
        together = structs.replace(asked, asking=asking)
        answer = rollouts.decide(state, together)
        if answer.ruling.allowed and not more_keys(state, together, answer):
            return together, answer, 0
    return asked, alone, missing


def more_keys(state: Replica, asked: policy.Request, answer: Answer) -> int:
    """How many keys are missing for what is asked for; none, if they would change nothing: a canary that wants more of them softens no stop."""
    ruling = answer.ruling
    if not ruling.allowed or asked.asking >= ruling.approvals:
        return 0
    enough = rollouts.decide(state, structs.replace(asked, asking=ruling.approvals)).ruling
    return ruling.approvals - asked.asking if (enough.gate, enough.life) != (ruling.gate, ruling.life) else 0


def countersigned(request: OrderRequest, asked: policy.Request, signatures: tuple[Countersignature, ...]) -> dict[str, object] | None:
    """What a decision on several keys rests on, for the record: exactly what was signed, and by whom."""
    if asked.asking == 1:
        return None
    signed = [[request.principal, request.signature], *([each.countersigner, each.signature] for each in signatures)]
    return {"raw": codec.unsigned(request), "signatures": signed}


def order_before(state: Replica, request: OrderRequest) -> KnownOrder | None:
    """The order that was made for this very request before, perhaps under an earlier policy or with further keys, if it is no less than what is asked
    for: what was ordered is not decided anew. Or one that has been lifted meanwhile, whatever it was: then nothing is left to be completed.
    """
    named = intent.named(state.intent, nonce_of(request))
    if not named or not trust.believes_request(state.trust, request):
        return None
    alike = made_of(state, request, named)
    gate, life = codec.clamp_gate(request.gate), codec.clamp_life(request.life)
    enough = (known for known in alike if known.severity.gate >= gate and known.severity.life >= life and known.body.grace_ns <= request.grace_ns)
    lifted = (known for known in alike if known.id in state.intent.lifted)
    return next(enough, None) or next(lifted, None)


def made_of(state: Replica, request: OrderRequest, named: tuple[KnownOrder, ...]) -> list[KnownOrder]:
    """Those of the orders under its name that were made of this request, and of no other content. An order says how severe it came out, and not what
    was asked for; but it carries the hash of that, which tells as well how many keys counted."""
    asked = structs.replace(question(state, request), authorised=True)
    inputs = {policy.input_hash(structs.replace(asked, asking=keys_)) for keys_ in range(1, COUNTERSIGNATURES_MAX + 2)}
    content = (request.reason, request.cleanup)
    return [known for known in named if known.body.decision.input_hash in inputs and (known.body.reason, known.body.cleanup) == content]


def nonce_of(request: OrderRequest) -> str:
    return f"{request.principal}/{request.request}"


def answer_again(state: Replica, known: KnownOrder, request: OrderRequest, sender: str, keys_wanted: int = 0) -> None:
    """To whoever asks once more: how far the order is, or that it was lifted."""
    if intent.is_lifted(state.intent, known):
        send(state, sender, OrderStatus(request.request, known.id, "ALREADY_COVERED", 0, "this request's order was lifted; ask anew to stop again"))
        return
    remember_asker(state, known.id, request.request, sender, keys_wanted)
    if state.node in state.durable.get(known.id, ()):
        tell_order(state, known.id)


def question(state: Replica, request: OrderRequest) -> policy.Request:
    """What the policy is asked: a request whose signature says who really asks."""
    scope = request.scope
    may = keys.authorised(state.trust.keyset, request.principal, keys.REQUEST, request.tenant, scope.kind, request.gate, request.life)
    return policy.Request(
        principal=request.principal, action=policy.STOP, authorised=may and trust.believes_request(state.trust, request),
        tenant=request.tenant, scope_kind=scope.kind, scope_value=scope.value, gate=request.gate, life=request.life,
        grace_ns=request.grace_ns, grace_max_ns=state.parameters.grace_max_ns,
    )  # fmt: skip


def refusal(state: Replica, request: OrderRequest) -> str:
    if not trust.believes_request(state.trust, request):
        return "the signature is not that of the principal; ask under the name whose key signs"
    return "the principal may not order this here; that takes an operator of all that it would stop, and of stops so severe"


def remember_asker(state: Replica, order: str, request: str, operator: str, keys_wanted: int = 0) -> None:
    while len(state.asked) >= REQUESTS_MAX:
        oldest = next(iter(state.asked))
        del state.asked[oldest]
        for told in [told for told in state.told if told[0] == oldest]:
            del state.told[told]
    state.asked[order] = (request, operator, keys_wanted)


def after_accept(state: Replica, order: str, now_ns: int) -> None:
    """An order is in memory: fence what it kills, and what has been proven to outlive it already; and watch the clock for what it will call for.
    Whoever asked here for a soft order asked for what that becomes, whichever replica makes it."""
    known = state.intent.orders[order]
    if known.body.parent in state.asked:
        remember_asker(state, order, *state.asked[known.body.parent])
    for agent in concerned(state, known):
        if known.severity.life is Life.KILL or lives_on(state, agent, order):
            dispatch.fence(state, agent, order)
    set_waiting_timer(state, now_ns)


# -- statuses ----------------------------------------------------------------------------------------------------------------------------


def note_durable(state: Replica, order: str, replica: str, now_ns: int) -> None:
    """One more replica is known to hold an order durably."""
    holders = state.durable.setdefault(order, set())
    if replica in holders:
        return
    holders.add(replica)
    here = federation.own(state.config)
    if order in state.intent.orders and copies(state, order, here) >= here.kill_quorum and order not in state.effective:
        state.effective.add(order)
        record(state, "ORDER_EFFECTIVE", {"order": order, "holders": sorted(holders)}, now_ns)
    if state.node in holders:
        tell_order(state, order)
    if replica == state.node and order in state.intent.orders:
        note_own_wait(state, state.intent.orders[order], now_ns)


def tell_order(state: Replica, order: str) -> None:
    """Tell whoever asked here how far the order is, in each cell that it concerns: what one holds says nothing of another."""
    asker, known = state.asked.get(order), state.intent.orders.get(order)
    if asker is None or known is None:
        return
    here = federation.own(state.config)
    for cell in federation.concerned(state.config, known.body.scope):
        held = copies(state, order, cell)
        effective = order in state.effective if cell == here else held >= cell.kill_quorum
        stage = "EFFECTIVE" if effective else "ACCEPTED"
        request, operator, wanted = asker
        why = f"isolated for now: what was asked for needs {wanted} more keys" if wanted else ""
        status = CellStatus(request, order, cell.name, stage, held, wanted) if cell.name else OrderStatus(request, order, stage, held, why, wanted)
        send(state, operator, status)


def copies(state: Replica, order: str, cell: Cell) -> int:
    """How many replicas of a cell are known to hold an order durably."""
    return sum(replica in cell.replicas for replica in state.durable.get(order, ()))


def tell_agent(state: Replica, order: str, agent: str, token: Token, stage: str) -> None:
    """Tell whoever asked here what has become of one agent: each stage once, and the latest a few times more (`tell_again`)."""
    asker = state.asked.get(order)
    if asker is None or state.told.get((order, agent)) == stage:
        return
    state.told[(order, agent)] = stage
    status = AgentStatus(order, agent, token, stage)
    state.telling[(order, agent, stage in STAGES)] = (status, Tries())
    send(state, asker[1], status)


def tell_again(state: Replica, now_ns: int) -> None:
    """With a round of gossip: nobody answers a status, so it may have been lost. What is proven is told apart from what is concluded, so that neither
    takes the other's place."""
    for about, (status, tries) in list(state.telling.items()):
        asker = state.asked.get(status.order)
        if asker is not None and traffic.due(tries, status.stage, now_ns):
            traffic.said(tries, status.stage, now_ns, state.parameters.gossip_ns, f"{state.node}/{state.boot}/{status.order}/{status.agent}")
            send(state, asker[1], status)
        if asker is None or tries.tries >= TOLD_AGAIN:
            del state.telling[about]


def take_evidence(state: Replica, evidence: tuple[Evidence, ...], sender: str, now_ns: int) -> None:
    """Believe what an agent's own sidecar signed, and nothing else; old news is not news."""
    for proof in evidence:
        old = state.proofs.get((proof.order, proof.agent))
        if (old is not None and not is_further(old, proof)) or not trust.believes_evidence(state.trust, sender, proof):
            continue
        state.proofs[(proof.order, proof.agent)] = proof
        record(state, "EVIDENCE", {"agent": proof.agent, "order": proof.order, "stage": proof.stage, "token": parts(proof.token)}, now_ns)
        if proof.stage.startswith("STOPPED") and proof.token > state.stopped.get(proof.agent, NO_TOKEN):
            state.stopped[proof.agent] = proof.token
        elif lives_on(state, proof.agent, proof.order) and proof.order in state.intent.orders and proof.order not in state.intent.lifted:
            dispatch.fence(state, proof.agent, proof.order)  # what cannot be ended can be shut out; under an order yet unknown, when that comes
        tell_agent(state, proof.order, proof.agent, proof.token, proof.stage)


def lives_on(state: Replica, agent: str, order: str) -> bool:
    """Whether it is proven that the order cannot end the agent's process."""
    proof = state.proofs.get((order, agent))
    return proof is not None and proof.stage == "KILL_FAILED"


def is_further(old: Evidence, proof: Evidence) -> bool:
    """Whether a proof says more than the one at hand: of a later start, or a later stage of the same. Signals overtake each other."""
    return (proof.token, STAGES.get(proof.stage, 0)) > (old.token, STAGES.get(old.stage, 0))


# -- what time calls for -------------------------------------------------------------------------------------------------------------------


def escalation_due_ns(state: Replica, known: KnownOrder) -> int:
    """When a soft stop that is not proven complete becomes a hard one, on this replica's clock; a restart starts the wait anew."""
    return state.seen.get(known.id, state.booted_ns) + leases.time_to_stop_ns(known, state.parameters) + state.parameters.slack_ns


def presumption_due_ns(state: Replica, known: KnownOrder) -> int:
    """When this replica will have outwaited every lease since its own accept (T4). A restart starts the wait anew."""
    residue = max((residue_ns(state, agent) for agent in concerned(state, known)), default=0)
    return state.seen.get(known.id, state.booted_ns) + residue


def restart_waits(state: Replica, now_ns: int) -> None:
    """What was measured on a clock that cannot be believed was not measured: all waits begin anew, those that seemed over as well, as after a restart
    (T4, T5). What peers have outwaited, they have."""
    state.seen.clear()
    for waiters in state.waited.values():
        waiters.discard(state.node)
    state.booted_ns = now_ns
    state.promised_ns = dict.fromkeys(state.promised_ns, now_ns)
    set_waiting_timer(state, now_ns)


def set_waiting_timer(state: Replica, now_ns: int) -> None:
    """One timer for the earliest thing that waiting will call for."""
    due = []
    for known in uncovered(state):
        if known.severity.life is Life.STOP and now_ns < escalation_due_ns(state, known):
            due.append(escalation_due_ns(state, known))
        presumption = presumption_due_ns(state, known)
        if known.severity.gate is Gate.CLOSED and now_ns < presumption:
            due.append(presumption)
    earliest = min(due, default=None)
    if earliest != state.waiting_timer_ns:
        state.waiting_timer_ns = earliest
        state.effects.append(SetTimer("waiting", earliest))


def on_waiting_timer(state: Replica, now_ns: int) -> None:
    state.waiting_timer_ns = None
    for known in uncovered(state):
        note_own_wait(state, known, now_ns)
        if known.severity.life is Life.STOP and now_ns >= escalation_due_ns(state, known):
            escalate(state, known, now_ns)
    set_waiting_timer(state, now_ns)


def note_own_wait(state: Replica, known: KnownOrder, now_ns: int) -> None:
    """This replica has outwaited every lease that it might have granted before it denied, and holds the order durably, whichever came last."""
    if known.severity.gate is Gate.CLOSED and not state.clock.suspected and now_ns >= presumption_due_ns(state, known):
        note_waited(state, known.id, state.node, now_ns)


def note_waited(state: Replica, order: str, replica: str, now_ns: int) -> None:
    """An acceptor has outwaited every lease. When the same k have, what ran under the order can be presumed stopped (T4)."""
    if replica == state.node and state.node not in state.durable.get(order, ()):
        return
    waiters = state.waited.setdefault(order, set())
    if replica in waiters:
        return
    waiters.add(replica)
    known = state.intent.orders.get(order)
    if known is not None and len(waiters) >= state.config.kill_quorum and order not in state.intent.lifted:
        for agent in concerned(state, known):
            declare(state, order, agent, now_ns)


def declare(state: Replica, order: str, agent: str, now_ns: int) -> None:
    if (order, agent) in state.declared or is_stopped(state, agent, order):
        return
    state.declared.add((order, agent))
    token = greatest_token(state, agent)
    record(state, "DECLARED", {"order": order, "agent": agent, "token": parts(token)}, now_ns)
    observe(state, "declared", order=order, agent=agent, token=parts(token))
    if state.intent.orders[order].severity.life is not Life.ALIVE:  # an isolated agent is not stopped, however long one waits (S20)
        tell_agent(state, order, agent, token, "PRESUMED_STOPPED")


def escalate(state: Replica, parent: KnownOrder, now_ns: int) -> None:
    """A hard order for every agent whose soft stop is not proven. Its content is the parent's, so that any replica makes the same one."""
    for agent in concerned(state, parent):
        if is_stopped(state, agent, parent.id) or greatest_token(state, agent) == NO_TOKEN:
            continue
        order = trust.sign_order(state.trust, state.node, child_of(state, parent, agent))
        child = learn_order(state, order, state.node, now_ns)
        if child:
            record(state, "ESCALATED", {"parent": parent.id, "child": child, "agent": agent}, now_ns)
            observe(state, "escalated", parent=parent.id, child=child, agent=agent)
            dispatch.spread(state, (order,))
            after_accept(state, child, now_ns)


def child_of(state: Replica, parent: KnownOrder, agent: str) -> OrderBody:
    """The hard order that a soft one becomes for one agent: its own tenant's, whoever gave the parent."""
    return OrderBody(
        tenant=state.fleet[agent].tenant, scope=Scope("agent", agent), gate=Gate.CLOSED, life=Life.KILL, grace_ns=0, issuer=parent.body.issuer,
        nonce=f"{parent.id}/escalation/{agent}", reason=f"not stopped within its grace: {parent.body.reason}", parent=parent.id,
        keyset=parent.body.keyset, decision=parent.body.decision,
    )  # fmt: skip
