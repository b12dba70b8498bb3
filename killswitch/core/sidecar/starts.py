"""Starting an agent, and keeping it authorised: fencing tokens, fences, lease rounds (protocol 3.6, D3, D9).

Owns the conversation with replicas about permission. Every permission is durable before it is acted on: go = persist, act, ack.

A start: propose a token greater than all known; q replicas promise it and say that the predecessor can no longer act; the token is
made durable; class F sinks are fenced at it; a first quorum lease opens; the start is made durable; the process is spawned.
"""

from __future__ import annotations

from killswitch.core import drift, intent, leases
from killswitch.core.events import SetTimer, Spawn
from killswitch.core.messages import (
    COUNTER_MAX, NO_TOKEN, Evidence, Fence, FenceAck, LeaseReply, LeaseRequest, SinkClass, StartReply, StartRequest, Token,
)  # fmt: skip
from killswitch.core.outlet import observe, parts, record, send
from killswitch.core.sidecar import floors
from killswitch.core.sidecar import state as sidecar
from killswitch.core.sidecar.state import NEVER, Sidecar, send_replicas

EPOCH = 1


def may_start(state: Sidecar) -> bool:
    """A start needs: nothing running or left over, nothing ordered, a disk that holds."""
    busy = state.process or state.reaping or state.spawning
    return state.booted and not busy and not state.disk_failed and not state.disk_full and sidecar.ordered(state) == intent.RUN


def renew(state: Sidecar, now_ns: int) -> None:
    """The heartbeat: ask every replica for its share of a lease, whatever the mode: denials carry news too."""
    view = intent.view(state.intent, state.identity)
    state.round_count += 1
    nonce = f"{state.instance}/{state.round_count}"
    forget_rounds(state, now_ns)
    state.rounds[nonce] = leases.Round(now_ns)
    token = state.token if state.opened else NO_TOKEN
    keyset = state.trust.keyset.version
    send_replicas(state, LeaseRequest(state.config.agent, token, nonce, floors.view_told(state), now_ns, state.told[1], proofs(state, view), keyset))
    if may_start(state) and not state.opened and now_ns >= state.restart_after_ns:
        propose(state, now_ns)
    for sink in state.fences_missing:
        send(state, sink, Fence(state.config.agent, state.token))


def forget_rounds(state: Sidecar, now_ns: int) -> None:
    """Of rounds that are as old as a lease no grant opens anything any more; of younger ones each may, however many have followed it."""
    while state.rounds:
        oldest = next(iter(state.rounds))
        if len(state.rounds) < leases.ROUNDS_MAX and now_ns - state.rounds[oldest].sent_ns < state.parameters.lease_ns:
            break
        del state.rounds[oldest]


def proofs(state: Sidecar, view: intent.View) -> tuple[Evidence, ...]:
    """What is durably proven about the orders in force, to go out with every request: an acknowledgement that is lost is said again."""
    return tuple(state.proved[known.id] for known in view.uncovered if known.id in state.proved)


def propose(state: Sidecar, now_ns: int) -> None:
    """Ask for promises of a token; the same one again until it is refused or opened."""
    if state.proposed is None:
        state.highest += 1
        state.proposed = Token(EPOCH, state.highest, f"{state.instance}.{state.highest}")
        state.ready = ()
    request_start(state, sidecar.granters(state))


def request_start(state: Sidecar, replicas: tuple[str, ...], token: Token | None = None) -> None:
    view = intent.view(state.intent, state.identity)
    proposal = token or state.proposed
    if proposal is not None:
        request = StartRequest(state.config.agent, proposal, floors.view_told(state), state.last_stop[0], proofs(state, view))
        for replica in replicas:
            send(state, replica, request)


def heed(state: Sidecar, counter: int) -> None:
    """The next proposal is greater than any token heard of, but for one that nothing could follow."""
    if counter < COUNTER_MAX:
        state.highest = max(state.highest, counter)


def on_start_reply(state: Sidecar, reply: StartReply, now_ns: int) -> None:
    """Count promises by replica; with a quorum of them ready, put the token on record before anything happens under it."""
    heed(state, reply.promised.counter)
    proposed = state.proposed
    if proposed is None or reply.token != proposed:
        return
    if not reply.granted:
        if reply.promised > proposed:
            state.proposed = None  # somebody else holds a greater token: try a greater one at the next heartbeat
        return
    if reply.ready and reply.complete and reply.replica not in state.ready:
        state.ready += (reply.replica,)
    if len(state.ready) >= state.config.quorum and may_start(state) and not state.opening:
        state.opening = True
        state.recorded_token = proposed
        body = {"token": parts(proposed), "predecessor": parts(state.token)}
        state.awaiting[record(state, "TOKEN", body, now_ns)] = ("token", proposed)


def open_token(state: Sidecar, token: Token, now_ns: int) -> None:
    """The token is durable: fence what can be fenced, and ask for a first lease under it."""
    state.opening = False
    if state.proposed != token:
        return
    observe(state, "token-opened", agent=state.config.agent, token=parts(token), predecessor=parts(state.token))
    state.token = token
    state.proposed = None
    state.opened = True
    state.fences_missing = tuple(sorted(sink for sink, kind in state.config.sinks.items() if kind == SinkClass.FENCED))
    renew(state, now_ns)


def on_fence_ack(state: Sidecar, ack: FenceAck, now_ns: int) -> None:
    """A fence at this token is what was missing; one above it means that this token has been shut out, and only a greater one is let in."""
    if ack.agent != state.config.agent or ack.sink not in state.config.sinks or ack.min_token < state.token:
        return
    if ack.min_token == state.token:
        state.fences_missing = tuple(sink for sink in state.fences_missing if sink != ack.sink)
        return
    # The control plane's fences name no instance, so any start of that very number passes; beyond a start's fence it takes a greater one.
    heed(state, ack.min_token.counter - (not ack.min_token.instance))
    if state.process and state.shut_out_ns is None:
        state.shut_out_ns = now_ns
    elif state.opened and not state.process and not state.spawning:
        abandon_start(state)


def on_lease_reply(state: Sidecar, reply: LeaseReply, now_ns: int) -> None:
    """Count a grant. Its orders were learned before, in the same step."""
    heed(state, reply.promised.counter)
    time_trip(state, reply, now_ns)
    watch_clock(state, reply, now_ns)
    if reply.token != state.token or not state.opened or reply.agent != state.config.agent:
        return
    if reply.why == "unpromised":
        request_start(state, (reply.replica,), state.token)
        return
    note_promise(state, reply, now_ns)
    round_ = state.rounds.get(reply.nonce)
    if round_ is None or reply.len_ns <= 0 or not reply.complete or not may_vouch(state, reply.replica):
        return
    round_.grants[reply.replica] = min(reply.len_ns, state.parameters.lease_ns)  # by replica: a duplicate cannot add up to a quorum
    if leases.enough(round_.grants, state.config.quorum):
        extend_lease(state, leases.until(round_, now_ns), reply.nonce, now_ns)
        # A fence came with an order. A quorum that grants after that says that the order is lifted, or never was effective;
        # but a fence never falls, so this token can do nothing any more: the process is replaced by one with a greater token.
        state.outdated |= state.shut_out_ns is not None and round_.sent_ns >= state.shut_out_ns


def may_vouch(state: Sidecar, replica: str) -> bool:
    """Whose grants count: any replica's that may grant at all, whoever promised the token."""
    return replica in sidecar.granters(state)


def note_promise(state: Sidecar, reply: LeaseReply, now_ns: int) -> None:
    """A replica that has promised a greater token grants this one nothing any more. Where so many have that no quorum is left, somebody else goes by
    this name, or did: a process under it would stand by for ever. It is asked to stop, and a greater token is proposed in its turn, a lease
    later, so that two who go on both take turns.
    """
    if (reply.promised > state.token) != (reply.replica in state.superseding):
        others = tuple(replica for replica in state.superseding if replica != reply.replica)
        state.superseding = (*others, reply.replica) if reply.promised > state.token else others
    if len(set(state.superseding) & set(state.config.replicas)) <= len(state.config.replicas) - state.config.quorum:
        return
    if not state.outdated:
        state.restart_after_ns = now_ns + state.parameters.lease_ns
    if state.process:
        state.outdated = True
    elif not state.spawning:
        abandon_start(state)


def time_trip(state: Sidecar, reply: LeaseReply, now_ns: int) -> None:
    """How long the network takes when it is at its best: anything longer may be a replica's doing, or a fault that passes."""
    round_ = state.rounds.get(reply.nonce)
    if round_ is not None:
        trip_ns = now_ns - round_.sent_ns
        state.trip_ns = trip_ns if state.trip_ns == NEVER else min(state.trip_ns, trip_ns)


def watch_clock(state: Sidecar, reply: LeaseReply, now_ns: int) -> None:
    """The replica stamped the request between its sending and now. A clock with which no quorum can agree is not one to measure leases by (T5)."""
    round_ = state.rounds.get(reply.nonce)
    if round_ is None or not reply.boot or reply.agent != state.config.agent:
        return
    sight = drift.Sight(reply.boot, round_.sent_ns, now_ns, reply.received_ns)
    drift.compare(state.clock, reply.replica, sight, state.parameters.drift_ppm, state.parameters.lease_ns)
    drift.doubt(state, len(state.config.replicas) - state.config.quorum, now_ns)


def extend_lease(state: Sidecar, until_ns: int, nonce: str, now_ns: int) -> None:
    if until_ns <= state.lease_until_ns:
        return
    if now_ns >= state.lease_until_ns:
        record(state, "LEASE_OPENED", {"until": until_ns, "token": parts(state.token)}, now_ns)
    state.lease_until_ns = until_ns
    state.leased = True
    state.attempts.cautious = False  # from here on an agent may run, and what stops it waits for no disk
    observe(state, "lease-opened", agent=state.config.agent, nonce=nonce, token=parts(state.token), until_ns=until_ns)
    if not state.lease_timer_set:
        state.lease_timer_set = True
        state.effects.append(SetTimer("lease", until_ns))


def on_lease_timer(state: Sidecar, now_ns: int) -> None:
    """One lazy timer a lease length: it looks whether the lease was renewed meanwhile."""
    state.lease_timer_set = False
    if now_ns < state.lease_until_ns:
        state.lease_timer_set = True
        state.effects.append(SetTimer("lease", state.lease_until_ns))
        return
    record(state, "LEASE_LOST", {"token": parts(state.token)}, now_ns)
    observe(state, "lease-lost", agent=state.config.agent, token=parts(state.token))


def spawn_when_ready(state: Sidecar, now_ns: int) -> None:
    """The last conditions of a start, looked at after every input."""
    if state.opened and not state.process and not state.spawning and sidecar.ordered(state) != intent.RUN:
        abandon_start(state)
    if not state.opened or state.fences_missing or not may_start(state) or now_ns >= state.lease_until_ns:
        return
    state.spawning = True
    state.awaiting[record(state, "PROC_START", {"token": parts(state.token)}, now_ns)] = ("spawn", state.token)


def spawn(state: Sidecar, token: Token) -> None:
    """The start is on record; if it is still wanted, carry it out."""
    state.spawning = False
    if state.token != token or sidecar.ordered(state) != intent.RUN or state.disk_failed or state.disk_full:
        abandon_start(state)
        return
    state.process = True
    state.last_applied = ""
    state.effects.append(Spawn(token))


def abandon_start(state: Sidecar) -> None:
    """Orders or fences came in the middle of a start: this token will not be used. Nothing ran under it, so all is as its predecessor left it."""
    state.last_stop = (state.token, *state.last_stop[1:])
    drop_lease(state)


def drop_lease(state: Sidecar) -> None:
    """A token serves one process. Whatever comes next needs a new one, and a lease under that."""
    state.lease_until_ns = NEVER
    state.rounds.clear()
    state.superseding = ()
    state.opened = False
    state.proposed = None
    state.fences_missing = ()
