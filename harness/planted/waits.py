"""Planted bugs of waits at a replica: how long until an agent is presumed stopped, or a soft stop becomes a hard one, and who hears of it."""

from __future__ import annotations

from msgspec import structs

from harness.planted.bug import PlantedBug
from killswitch.core import leases
from killswitch.core.bundles import Decision
from killswitch.core.intent import KnownOrder
from killswitch.core.machine import Parameters
from killswitch.core.messages import NO_TOKEN, OrderBody, Token
from killswitch.core.replica import orders
from killswitch.core.replica.state import Replica, concerned, greatest_token, residue_ns

_restart_waits = orders.restart_waits
_declare = orders.declare
_note_durable = orders.note_durable
_tell_agent = orders.tell_agent
_child_of = orders.child_of
_escalate = orders.escalate
_note_waited = orders.note_waited


def waits_one_lease(parameters: Parameters) -> int:
    return parameters.lease_ns


def waits_from_the_dawn_of_time(state: Replica, known: KnownOrder) -> int:
    """After a restart the order is an old one, and all that might have been granted before it is long out."""
    residue = max((residue_ns(state, agent) for agent in concerned(state, known)), default=0)
    return state.seen.get(known.id, -(leases.PPM**2)) + residue


def waits_go_on(state: Replica, now_ns: int) -> None:
    """The doubt is on record, and nothing is declared while it lasts."""


def half_the_grace(state: Replica, known: KnownOrder) -> int:
    """Better too early than too late."""
    return state.seen.get(known.id, state.booted_ns) + leases.time_to_stop_ns(known, state.parameters) // 2


def presumed_whatever_was_ordered(state: Replica, order: str, agent: str, now_ns: int) -> None:
    """Nothing of it can act any more, so it has stopped."""
    before = len(state.declared)
    _declare(state, order, agent, now_ns)
    if len(state.declared) > before:
        orders.tell_agent(state, order, agent, greatest_token(state, agent), "PRESUMED_STOPPED")


def nothing_is_due_after_a_restart(state: Replica, known: KnownOrder) -> int:
    """The others have seen when it began."""
    if known.id not in state.seen:
        return 1 << 62
    return state.seen[known.id] + leases.time_to_stop_ns(known, state.parameters) + state.parameters.slack_ns


def heard_since_the_restart(state: Replica, agent: str) -> Token:
    """Whoever runs asks for leases, and says under which token."""
    return state.heard_token.get(agent, NO_TOKEN)


def what_was_promised_stays(state: Replica, now_ns: int) -> None:
    """Waits under orders begin anew; when a token was promised does not change by a doubt."""
    promised_ns = state.promised_ns
    _restart_waits(state, now_ns)
    state.promised_ns = promised_ns


def waits_for_itself(state: Replica, known: KnownOrder, now_ns: int) -> None:
    """It denies, and that is what counts."""


def leaves_it_to_people(state: Replica, order: str, agent: str, now_ns: int) -> None:
    """How long the lease was is known to everybody."""


def presumed_beside_the_proof(state: Replica, order: str, agent: str, now_ns: int) -> None:
    """Enough have waited, whatever else is known."""
    proof = state.proofs.pop((order, agent), None)
    _declare(state, order, agent, now_ns)
    if proof is not None:
        state.proofs[order, agent] = proof


def only_what_is_proven(state: Replica, order: str, agent: str, token: Token, stage: str) -> None:
    """A presumption is no news."""
    if stage != "PRESUMED_STOPPED":
        _tell_agent(state, order, agent, token, stage)


def the_timer_has_looked(state: Replica, order: str, replica: str, now_ns: int) -> None:
    """What waiting calls for, the timer of the wait does."""
    waited = state.waited.get(order, set()) | {state.node}
    state.waited[order], before = waited, state.waited.get(order)
    _note_durable(state, order, replica, now_ns)
    if before is None:
        del state.waited[order]
    else:
        state.waited[order] = before


def what_was_outwaited_stays(state: Replica, now_ns: int) -> None:
    """The waits that are not over yet begin anew."""
    over = [waiters for waiters in state.waited.values() if state.node in waiters]
    _restart_waits(state, now_ns)
    for waiters in over:
        waiters.add(state.node)


def whoever_it_matches(state: Replica, parent: KnownOrder, now_ns: int) -> None:
    """It is not proven stopped."""
    heard = dict(state.heard_token)
    for agent in concerned(state, parent):
        if greatest_token(state, agent) == NO_TOKEN:
            state.heard_token[agent] = Token(0, 1, "")
    _escalate(state, parent, now_ns)
    state.heard_token = heard


def enough_have_waited(state: Replica, order: str, replica: str, now_ns: int) -> None:
    """Whatever has become of the order meanwhile."""
    lifted = state.intent.lifted
    state.intent.lifted = lifted - {order}
    _note_waited(state, order, replica, now_ns)
    state.intent.lifted = lifted


def without_the_ruling(state: Replica, parent: KnownOrder, agent: str) -> OrderBody:
    """Nobody ruled on this one."""
    return structs.replace(_child_of(state, parent, agent), decision=Decision(0, "", ""))


def each_its_own(state: Replica, parent: KnownOrder, agent: str) -> OrderBody:
    """A nonce is used once."""
    child = _child_of(state, parent, agent)
    return structs.replace(child, nonce=f"{state.node}/{child.nonce}")


BUGS = (
    PlantedBug("B10", "an agent is presumed stopped after one lease length, as if all clocks ran alike", {"leases:residue_ns": waits_one_lease},
               ("S20", "S8"), ("presumed-too-early", "clock-extremes", "swarm-storm"), "hard"),
    PlantedBug("B86", "a restarted replica counts its wait as over", {"replica.orders:presumption_due_ns": waits_from_the_dawn_of_time},
               ("S20", "S8"), ("wait-restarted-with-its-replica",), "medium"),
    PlantedBug("B145", "a doubted clock goes on measuring the waits that it began", {"replica.orders:restart_waits": waits_go_on}, ("S20", "S19"),
               ("waits-begun-anew-after-a-doubt",), "easy"),
    PlantedBug("B159", "replicas escalate when half of the grace is over", {"replica.orders:escalation_due_ns": half_the_grace}, ("L3",),
               ("sidecar-gone-in-a-drain",), "easy"),
    PlantedBug("B160", "an isolated agent is presumed stopped", {"replica.orders:declare": presumed_whatever_was_ordered}, ("S20",),
               ("waits-begun-anew-after-a-doubt",), "easy"),
    PlantedBug("B172", "a restart ends the wait for a soft stop", {"replica.orders:escalation_due_ns": nothing_is_due_after_a_restart}, ("L3",),
               ("half-a-cell-escalates",), "easy"),
    PlantedBug("B186", "a replica that restarted speaks of the starts that it has heard of since, not of those that it promised",
               {"replica.orders:greatest_token": heard_since_the_restart, "replica.dispatch:greatest_token": heard_since_the_restart}, ("S20", "L3"),
               ("wait-restarted-with-its-replica", "half-a-cell-escalates"), "easy"),
    PlantedBug("B265", "a doubted clock goes on measuring how long ago a token was promised",
               {"replica.orders:restart_waits": what_was_promised_stays}, ("S8",), ("promised-before-a-doubt",), "easy"),
    PlantedBug("B330", "a replica that has outwaited every lease tells nobody", {"replica.orders:note_own_wait": waits_for_itself}, ("L13",),
               ("soft-overtaken-by-hard", "swarm-storm"), "easy"),
    PlantedBug("B331", "an agent of which no proof comes is never presumed stopped", {"replica.orders:declare": leaves_it_to_people}, ("L13",),
               ("sidecar-key-revoked-under-a-kill", "swarm-storm"), "easy"),
    PlantedBug("B332", "an agent is presumed stopped of which there is a proof", {"replica.orders:declare": presumed_beside_the_proof}, ("S20",),
               ("soft-overtaken-by-hard",), "easy"),
    PlantedBug("B333", "nobody is told that an agent is presumed stopped", {"replica.orders:tell_agent": only_what_is_proven}, ("S20",),
               ("force-delete-left-it-running", "disk-full-at-a-kill"), "easy"),
    PlantedBug("B334", "a wait that is over before its order is durable is never told", {"replica.orders:note_durable": the_timer_has_looked},
               ("L13",), ("waited-before-the-disk",), "easy"),
    PlantedBug("B355", "a wait that was over on a clock that jumped is told once the clock is doubted",
               {"replica.orders:restart_waits": what_was_outwaited_stays}, ("S20",), ("outwaited-on-a-clock-that-jumped",), "medium"),
    PlantedBug("B409", "a stop is escalated for an agent that never started", {"replica.orders:escalate": whoever_it_matches}, ("L3",),
               ("soft-stop-of-who-never-came",), "easy"),
    PlantedBug("B410", "an agent is presumed stopped under an order that was lifted", {"replica.orders:note_waited": enough_have_waited}, ("S20",),
               ("lifted-when-others-have-waited",), "easy"),
    PlantedBug("B411", "what a soft order becomes rests on no decision", {"replica.orders:child_of": without_the_ruling}, ("L3",),
               ("sidecar-gone-in-a-drain",), "easy"),
    PlantedBug("B423", "each replica makes another order of a soft one", {"replica.orders:child_of": each_its_own}, ("L3",),
               ("sidecar-gone-in-a-drain", "soft-stop-of-who-never-came"), "easy"),
)  # fmt: skip
