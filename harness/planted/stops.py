"""Planted bugs of stops on their way: graces and their ends, signals and kills, escalation to a hard stop, and a sidecar's own stop of a standby."""

from __future__ import annotations

from msgspec import structs

from harness.planted.bug import PlantedBug, as_if
from killswitch.core import intent, trust
from killswitch.core.events import Record, Signal, SignalKind
from killswitch.core.intent import KnownOrder
from killswitch.core.messages import NO_TOKEN, Gate, LeaseReply, Life, Order, OrderBody, OrderPush
from killswitch.core.outlet import observe, record
from killswitch.core.replica import dispatch, orders
from killswitch.core.replica import step as replica_step
from killswitch.core.replica.state import Replica, concerned, is_stopped, learn_order
from killswitch.core.sidecar import recover, standby
from killswitch.core.sidecar import state as sidecar_state
from killswitch.core.sidecar import step as sidecar_step
from killswitch.core.sidecar.state import Sidecar

_ask_to_stop = sidecar_step.ask_to_stop
_child_of = orders.child_of
_drive_process = sidecar_step.drive_process
_escalate = orders.escalate
_fold_order = recover._fold_order
_follow = standby.follow
_gate = sidecar_state.gate
_kill = sidecar_step.kill
_on_order_push = replica_step.on_order_push
_local_stop = standby.local_stop


def grace_starts_again(state: Sidecar, known: KnownOrder, now_ns: int) -> None:
    if known.severity.life is Life.STOP:
        sidecar_step.set_deadline(state, known.id, now_ns + known.body.grace_ns)
        state.stop_by_ns = None


def restart_restarts_grace(stored_ns: int, stored_boot: str, boot: str, order: KnownOrder, now_ns: int) -> int:
    return now_ns + order.body.grace_ns


def term_without_a_continue(state: Sidecar, now_ns: int) -> None:
    _ask_to_stop(state, now_ns)
    state.effects.remove(Signal(SignalKind.CONT))


def escalate_nothing(state: Replica, parent: KnownOrder, now_ns: int) -> None:
    """The sidecar will see to it."""


def ones_own_stop_is_forgotten(state: Sidecar, entry: Record, body: dict[str, object], now_ns: int) -> None:
    """A stop that this sidecar gave itself was for the process that ran then."""
    if body["signer"] != state.config.node:
        _fold_order(state, entry, body, now_ns)


def each_spell_counts_anew(state: Sidecar, mode: str, now_ns: int) -> None:
    """The lease came back, and with it all is well."""
    if state.standing.since_ns is None:
        state.standing.stood_ns = 0
    _follow(state, mode, now_ns)


def one_stop_for_all_spells(state: Sidecar) -> Order:
    """The order of a sidecar for its own agent needs no number: there is only the one."""
    known = intent.read_order(_local_stop(state))
    assert known is not None
    return trust.sign_order(state.trust, state.config.node, structs.replace(known.body, nonce=f"{state.config.node}/standby"))


def drain_until_somebody_looks(state: Sidecar, now_ns: int) -> Gate:
    """Whoever kills at the deadline closes the gate then; why look at the clock twice."""
    with as_if(state, "stop_by_ns", None):
        return _gate(state, now_ns)


def never_say_that_it_lives(state: Sidecar, now_ns: int) -> bool:
    return False


def leave_it_to_the_first(state: Replica, parent: KnownOrder, now_ns: int) -> None:
    """All would make the same order."""
    if state.node == state.config.replicas[0]:
        _escalate(state, parent, now_ns)


def the_later_end(state: Sidecar) -> int | None:
    """Whoever asked for more time is given it."""
    uncovered = intent.view(state.intent, state.identity).uncovered
    return max((state.deadlines[known.id] for known in uncovered if known.id in state.deadlines), default=None)


def never_mind(state: Sidecar, now_ns: int) -> None:
    """Nobody wants it stopped any more."""
    if state.stopping and not state.killing and not state.outdated and sidecar_state.ordered(state).life is Life.ALIVE:
        state.stopping = state.stop_drain = False
        state.stop_by_ns = None
    _drive_process(state, now_ns)


def the_parents_word(state: Replica, parent: KnownOrder, agent: str) -> OrderBody:
    """A child is given by whoever gave its parent."""
    return structs.replace(_child_of(state, parent, agent), tenant=parent.body.tenant)


def whoever_was_to_stop(state: Replica, parent: KnownOrder, now_ns: int) -> None:
    """The time is over: what has stopped has nothing to fear from a kill."""
    proofs, state.proofs = state.proofs, {}
    _escalate(state, parent, now_ns)
    state.proofs = proofs


def ask_and_wait(state: Sidecar, now_ns: int) -> None:
    """How long it may take, the order says."""
    bound_ns = state.stop_by_ns
    _ask_to_stop(state, now_ns)
    state.stop_by_ns = bound_ns


def what_it_promised_itself(state: Replica, parent: KnownOrder, now_ns: int) -> None:
    """Who was promised no token has never started."""
    for agent in concerned(state, parent):
        if is_stopped(state, agent, parent.id) or state.promised.get(agent, NO_TOKEN) == NO_TOKEN:
            continue
        order = trust.sign_order(state.trust, state.node, orders.child_of(state, parent, agent))
        child = learn_order(state, order, state.node, now_ns)
        if child:
            record(state, "ESCALATED", {"parent": parent.id, "child": child, "agent": agent}, now_ns)
            observe(state, "escalated", parent=parent.id, child=child, agent=agent)
            dispatch.spread(state, (order,))
            orders.after_accept(state, child, now_ns)


def kill_once(state: Sidecar, now_ns: int) -> None:
    """Nothing survives SIGKILL."""
    if not state.killing:
        _kill(state, now_ns)


def learns_and_never_teaches(state: Sidecar, reply: LeaseReply) -> None:
    """Orders come from replicas, so what would they learn from a sidecar?"""


def its_own_alone(state: Replica, message: OrderPush, sender: str, now_ns: int) -> None:
    """A sidecar has nothing to say of orders that others gave."""
    _on_order_push(state, structs.replace(message, orders=tuple(order for order in message.orders if order.signer == sender)), sender, now_ns)


def keeps_it_to_itself(state: Sidecar) -> None:
    """Its agent is stopped, which is all that was wanted."""


def as_the_orders_say(state: Sidecar, now_ns: int) -> Gate:
    """How far it is open, the orders say, and they are lifted."""
    with as_if(state, "stopping", False):
        return _gate(state, now_ns)


BUGS = (
    PlantedBug("B06", "hearing of a soft order again starts its grace again", {"sidecar.step:start_grace": grace_starts_again}, ("S18",),
               ("duplicated-and-reordered-signals", "swarm-storm"), "easy"),
    PlantedBug("B07", "a restart of the sidecar starts the grace again", {"sidecar.recover:recovered_deadline": restart_restarts_grace}, ("S18",),
               ("sidecar-crash-mid-drain", "swarm-storm"), "easy"),
    PlantedBug("B39", "a process that something stopped is asked to stop, and not continued", {"sidecar.step:ask_to_stop": term_without_a_continue},
               ("S28",), ("runaway-trader",), "easy"),
    PlantedBug("B64", "no replica escalates", {"replica.orders:escalate": escalate_nothing}, ("L3",), ("sidecar-gone-in-a-drain",), "easy"),
    PlantedBug("B87", "a stop for a standby that was too long does not survive a restart of the sidecar",
               {"sidecar.recover:_fold_order": ones_own_stop_is_forgotten}, ("S4", "S25"), ("flapping-standby-ends-in-a-stop",), "easy"),
    PlantedBug("B89", "the time on standby is counted anew with each spell", {"sidecar.standby:follow": each_spell_counts_anew}, ("L11",),
               ("flapping-standby-ends-in-a-stop",), "easy"),
    PlantedBug("B90", "a sidecar's own stop is the same order each time, so the certificate for the first lifts them all",
               {"sidecar.standby:local_stop": one_stop_for_all_spells}, ("L11",), ("standby-again-after-a-resume",), "medium"),
    PlantedBug("B103", "the gate does not look at the drain deadline: who kills will close it", {"sidecar.state:gate": drain_until_somebody_looks},
               ("S3",), ("asleep-past-its-drain",), "medium"),
    PlantedBug("B111", "nobody is told that a kill did not succeed", {"sidecar.step:cannot_end": never_say_that_it_lives}, ("L2",),
               ("force-delete-left-it-running",), "easy"),
    PlantedBug("B129", "of all replicas only the first escalates", {"replica.orders:escalate": leave_it_to_the_first}, ("L3",),
               ("half-a-cell-escalates",), "easy"),
    PlantedBug("B158", "of two soft stops the later end counts", {"sidecar.step:stop_deadline": the_later_end}, ("L3",), ("soft-twice",), "easy"),
    PlantedBug("B185", "who was asked to stop goes on when the order is lifted", {"sidecar.step:drive_process": never_mind}, ("L3",),
               ("lifted-while-it-stops",), "easy"),
    PlantedBug("B189", "the child of a soft order for everybody is nobody's", {"replica.orders:child_of": the_parents_word}, ("L3",),
               ("global-stop-with-a-host-gone",), "easy"),
    PlantedBug("B241", "a soft stop becomes a hard one for agents that are proven stopped, too", {"replica.orders:escalate": whoever_was_to_stop},
               ("L3",), ("soft-in-peace",), "easy"),
    PlantedBug("B242", "a stop that no order bounds has no end", {"sidecar.step:ask_to_stop": ask_and_wait}, ("L3",),
               ("unread-stop-of-a-deaf-agent",), "easy"),
    PlantedBug("B261", "an agent whose start this replica did not promise is not escalated for", {"replica.orders:escalate": what_it_promised_itself},
               ("L3",), ("escalated-by-who-missed-the-start",), "medium"),
    PlantedBug("B291", "SIGKILL is sent once", {"sidecar.step:kill": kill_once}, ("L2",), ("stop-that-nothing-carries-out",), "easy"),
    PlantedBug("B349", "a sidecar tells nobody that it stopped its agent by itself", {"sidecar.standby:tell": keeps_it_to_itself}, ("L10",),
               ("flapping-standby-ends-in-a-stop", "standby-again-after-a-resume"), "easy"),
    PlantedBug("B351", "a sidecar hands back no order that replicas lack", {"sidecar.returns:hand_back": learns_and_never_teaches}, ("L10",),
               ("known-to-its-sidecar-alone",), "medium"),
    PlantedBug("B352", "a replica takes from sidecars only what they ordered themselves", {"replica.step:on_order_push": its_own_alone}, ("L10",),
               ("known-to-its-sidecar-alone",), "medium"),
    PlantedBug("B505", "the gate opens for who was asked to stop, once the order is lifted", {"sidecar.state:gate": as_the_orders_say}, ("S6",),
               ("lifted-while-it-stops",), "easy"),
)  # fmt: skip
