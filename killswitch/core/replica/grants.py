"""What a replica grants to sidecars: leases and promises of tokens (protocol 3.7, D3, D4, D9).

Owns the decision of each grant. A reply is computed in one step from one intent and carries what the asker lacked of it, so a grant can
never speak for less than its replica knew. Must not know who ordered what, or how.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from killswitch.core import federation, keysets, leases, publication
from killswitch.core.certificates import ResumeCertificate
from killswitch.core.intent import View
from killswitch.core.messages import COUNTER_MAX, NO_TOKEN, LeaseReply, LeaseRequest, Order, SinkClass, StartReply, StartRequest, Token
from killswitch.core.outlet import parts, record, send
from killswitch.core.replica import orders
from killswitch.core.replica.state import Replica, identity_of, is_withheld_from, promise, reaches, residue_ns, sidecar_of, view_of

BODIES_MAX = 64

AnyBody = TypeVar("AnyBody", Order, ResumeCertificate)


def on_lease_request(state: Replica, request: LeaseRequest, sender: str, now_ns: int) -> None:
    """Answer a heartbeat: a share of a lease or the reason why not, and whatever the sidecar lacks."""
    if sender != sidecar_of(request.agent):
        return
    if request.evidence:
        orders.take_evidence(state, request.evidence, sender, now_ns)
    if state.heard_token.get(request.agent, NO_TOKEN) < request.token and request.token.counter < COUNTER_MAX:
        state.heard_token[request.agent] = request.token
    view = view_of(state, request.agent)
    length, why = lease(state, request, view, now_ns)
    news, certificates, complete = lacking(state, request.agent, request.view, view, now_ns)
    promised = state.promised.get(request.agent, NO_TOKEN)
    send(
        state, sender,
        LeaseReply(request.agent, request.nonce, request.token, state.node, length, why, view.digest, promised, now_ns, complete, news, certificates,
            state.boot),
    )  # fmt: skip
    publication.tell_forks(state, sender)
    if request.keyset < state.trust.keyset.version:
        send(state, sender, keysets.since(state, request.keyset))


def lease(state: Replica, request: LeaseRequest, view: View, now_ns: int) -> tuple[int, str]:
    """How long this replica vouches for the agent, and why not if 0."""
    if why := unfit(state, request.agent):
        return 0, why
    promised = state.promised.get(request.agent, NO_TOKEN)
    if not is_same_start(request.token, promised):
        return 0, "stale token" if request.token < promised else "unpromised"
    if state.promises_durable.get(request.agent) != promised:
        return 0, "unpromised"
    if request.token == NO_TOKEN:
        return 0, "no token"
    if is_withheld_from(state, request.agent):
        return 0, "order under an unknown key"
    if state.clock.suspected:
        return 0, "clock suspect"
    length = leases.span(view.uncovered, state.seen.get, now_ns, state.parameters.lease_ns)
    return length, "" if length else "ordered"


def is_same_start(asked: Token, promised: Token) -> bool:
    """Whether a token is the one that was promised. Its instance counts: of two hosts that boot from one snapshot, both may propose one number."""
    return asked == promised


def unfit(state: Replica, agent: str) -> str:
    """Why this replica does not vouch for an agent at present, whatever is ordered; empty if it does."""
    if not is_ours(state, agent):
        return "foreign cell"
    if state.disk_failed:
        return "disk failed"
    if state.disk_full:
        return "disk full"
    return "forked" if state.node in state.forks else "joining" if state.joining else ""


def is_ours(state: Replica, agent: str) -> bool:
    """Whether this cell speaks for the agent: a lease from anywhere else would not meet the orders that are effective at its home."""
    return federation.at_home(state.config, agent)


def lacking(
    state: Replica, agent: str, asker_view: str, view: View, now_ns: int
) -> tuple[tuple[Order, ...], tuple[ResumeCertificate, ...], bool]:  # fmt: skip
    """The orders and certificates to send along, and whether they are all: nothing if the asker's view is this replica's."""
    if asker_view == view.digest:
        return (), (), True
    known, identity = state.intent.certificates, identity_of(state, agent)
    certificates = [known[id_].certificate for id_ in sorted(state.intent.in_force) if reaches(state, known[id_], identity)]
    news = [known.order for known in view.uncovered]
    complete = len(news) <= BODIES_MAX and len(certificates) <= BODIES_MAX
    heartbeat = now_ns // state.parameters.renew_ns
    return portion(news, heartbeat), portion(certificates, heartbeat), complete


def portion(bodies: Sequence[AnyBody], heartbeat: int) -> tuple[AnyBody, ...]:
    """At most `BODIES_MAX`, others with each heartbeat: whoever keeps asking gets them all, though nobody knows which it lacks."""
    portions = max(1, -(-len(bodies) // BODIES_MAX))
    first = heartbeat % portions * BODIES_MAX
    return tuple(bodies[first : first + BODIES_MAX])


# -- tokens ------------------------------------------------------------------------------------------------------------------------------


def on_start_request(state: Replica, request: StartRequest, sender: str, now_ns: int) -> None:
    """Promise a token greater than any promised before, durably, and only to an agent of whom nothing is demanded."""
    if sender != sidecar_of(request.agent):
        return
    orders.take_evidence(state, request.evidence, sender, now_ns)
    note_stopped(state, request, now_ns)
    view = view_of(state, request.agent)
    promised = state.promised.get(request.agent, NO_TOKEN)
    if why := forbidden(state, request.agent, view):
        reply(state, request, view, granted=False, why=why)
    elif request.token.counter >= COUNTER_MAX or (request.token < promised and not is_same_start(request.token, promised)):
        reply(state, request, view, granted=False, why="stale token")
    elif is_same_start(request.token, promised):
        # Asked again: answered again, once the first promise is durable.
        lsn = 0 if state.promises_durable.get(request.agent) == promised else state.chain.seq
        reply(state, request, view, granted=True, after_lsn=lsn, now_ns=now_ns)
    else:
        promise(state, request.agent, request.token)
        state.promised_ns[request.agent] = now_ns
        lsn = record(state, "PROMISE", {"agent": request.agent, "token": parts(request.token)}, now_ns)
        state.awaiting[lsn] = ("promise", (request.agent, request.token))
        reply(state, request, view, granted=True, after_lsn=lsn, now_ns=now_ns)


def forbidden(state: Replica, agent: str, view: View) -> str:
    """Why no start of an agent may be promised at present; empty if one may be."""
    return "ordered" if view.uncovered or is_withheld_from(state, agent) else unfit(state, agent)


def note_stopped(state: Replica, request: StartRequest, now_ns: int) -> None:
    if not state.disk_full and request.stopped > state.stopped.get(request.agent, NO_TOKEN):
        state.stopped[request.agent] = request.stopped
        record(state, "PREDECESSOR_STOPPED", {"agent": request.agent, "token": parts(request.stopped)}, now_ns)


def predecessor_over(state: Replica, request: StartRequest, now_ns: int) -> bool:
    """Whether nothing of an earlier start can still take effect: proven reaped, or fenced off at every sink, or its leases are out (S8).

    A proof is of one host. Of two that boot from one snapshot, the other may hold a token of the same number, and runs on: so the proof has to reach
    what was promised here before, its instance included.
    """
    agent = request.agent
    tenant = agent.partition("/")[0]
    stopped = state.stopped.get(agent, NO_TOKEN)
    if stopped.counter >= request.token.counter - 1 and stopped >= state.superseded.get(agent, NO_TOKEN):
        return True
    if all(kind == SinkClass.FENCED for sink, kind in state.config.sinks.items() if sink.split("/")[1] == tenant):
        return True
    return not state.clock.suspected and now_ns - state.promised_ns.get(agent, now_ns) >= residue_ns(state, agent)


def reply(
    state: Replica, request: StartRequest, view: View, *, granted: bool, why: str = "", after_lsn: int = 0, now_ns: int = 0
) -> None:  # fmt: skip
    news, certificates, complete = lacking(state, request.agent, request.view, view, now_ns)
    ready = granted and predecessor_over(state, request, now_ns)
    promised = state.promised.get(request.agent, NO_TOKEN)
    message = StartReply(request.agent, request.token, state.node, granted, ready, why, promised, view.digest, complete, news, certificates)
    send(state, sidecar_of(request.agent), message, after_lsn)
