"""Planted bugs whose moment no scenario had, or that a second defence hid from the outcome: waits cut short, restarts that forget, leases that
outlive their start, forks without consequences."""

from __future__ import annotations

from harness.planted.bug import PlantedBug
from killswitch.core import leases, publication
from killswitch.core.heads import ForkProof
from killswitch.core.intent import KnownOrder
from killswitch.core.messages import NO_TOKEN, SinkClass, StartRequest
from killswitch.core.replica import grants
from killswitch.core.replica.state import Replica
from killswitch.core.sidecar import permits, starts
from killswitch.core.sidecar import state as sidecar
from killswitch.core.sidecar.state import Permit, Sidecar

_drop_lease = starts.drop_lease
_predecessor_over = grants.predecessor_over
_retry = permits.retry
_unfit = grants.unfit


def a_lease_is_long_enough(state: Replica, request: StartRequest, now_ns: int) -> bool:
    """No lease is longer than a lease."""
    waited_ns = now_ns - state.promised_ns.get(request.agent, now_ns)
    return _predecessor_over(state, request, now_ns) or (not state.clock.suspected and waited_ns >= state.parameters.lease_ns)


def whole_when_unknown(known: KnownOrder, seen_ns: int | None, now_ns: int) -> int:
    """The agent was promised its grace, whoever restarts."""
    return known.body.grace_ns if seen_ns is None else known.body.grace_ns - (now_ns - seen_ns)


def nothing_is_due_after_a_restart(state: Replica, known: KnownOrder) -> int:
    """The others have seen when it began."""
    if known.id not in state.seen:
        return 1 << 62
    return state.seen[known.id] + leases.time_to_stop_ns(known, state.parameters) + state.parameters.slack_ns


def send_until_it_answers(state: Sidecar, permit: Permit, now_ns: int) -> None:
    """No answer means that it did not arrive."""
    if permit.sent and state.config.sinks[permit.sink] == SinkClass.UNBOUNDED and sidecar.admit(state, permit.cls, now_ns):
        permits.send_apply(state, permit, now_ns)
    else:
        _retry(state, permit, now_ns)


def a_lease_is_the_sidecars(state: Sidecar) -> None:
    """It was granted for so long, and the time is not over."""
    until_ns = state.lease_until_ns
    _drop_lease(state)
    state.lease_until_ns = until_ns


def forked_but_it_works(state: Replica, agent: str) -> str:
    """Auditors have the proof, and see to it."""
    why = _unfit(state, agent)
    return ("joining" if state.joining else "") if why == "forked" else why


def heard_and_counted(state: Sidecar, proof: ForkProof, now_ns: int) -> None:
    """The proof is on record here, too."""
    publication.learn_fork(state, proof, now_ns)


def a_number_is_a_start(state: Replica, request: StartRequest, now_ns: int) -> bool:
    """Whoever proves that number three is over proves it of number three."""
    return _predecessor_over(state, request, now_ns) or state.stopped.get(request.agent, NO_TOKEN).counter >= request.token.counter - 1


BUGS = (
    PlantedBug("B170", "a successor waits one lease, not until every lease is out", {"replica.grants:predecessor_over": a_lease_is_long_enough},
               ("S8",), ("cloned-from-a-snapshot",), "easy"),
    PlantedBug("B171", "a replica that restarted takes the grace of a drain for whole", {"leases:drain_left": whole_when_unknown},
               ("S19",), ("replicas-restarted-in-a-drain",), "easy"),
    PlantedBug("B172", "a restart ends the wait for a soft stop", {"replica.orders:escalation_due_ns": nothing_is_due_after_a_restart},
               ("L3",), ("half-a-cell-escalates",), "easy"),
    PlantedBug("B173", "an unanswered effect is sent once more to a sink that keeps no keys", {"sidecar.permits:retry": send_until_it_answers},
               ("S9",), ("quiesce-with-work-in-flight",), "easy"),
    PlantedBug("B174", "a lease outlives its start, and the next token runs under it", {"sidecar.starts:drop_lease": a_lease_is_the_sidecars},
               ("S19",), ("resumed-within-a-lease",), "easy"),
    PlantedBug("B175", "a proof that a replica keeps two logs has no consequences",
               {"replica.grants:unfit": forked_but_it_works, "sidecar.step:on_fork_proof": heard_and_counted}, ("S19",), ("disk-that-lies",), "easy"),
    PlantedBug("B176", "a proof that one host's start is over is taken for one of another start of the same number",
               {"replica.grants:predecessor_over": a_number_is_a_start}, ("S8",), ("cloned-from-a-snapshot",), "medium"),
)  # fmt: skip
