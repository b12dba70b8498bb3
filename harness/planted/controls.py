"""Equivalent controls: changes that break nothing. Flagging one is a false alarm of the harness.

Each lies where a checker might take the way things are usually done for what is promised: who speaks first, how often, in which order, and
how much sooner than it must.
"""

from __future__ import annotations

from harness.planted.bug import PlantedBug
from killswitch.core import agent, leases, publication
from killswitch.core.agent import Agent
from killswitch.core.certificates import ResumeCertificate
from killswitch.core.intent import KnownCertificate
from killswitch.core.leases import Round
from killswitch.core.machine import Parameters
from killswitch.core.messages import Order
from killswitch.core.replica.state import Replica
from killswitch.core.traffic import BACKOFF_CAP_NS

until, period_ns, take_next = leases.until, publication.period_ns, agent.take_next


def push_nothing(state: Replica, orders: tuple[Order, ...], certificates: tuple[ResumeCertificate, ...], after_lsn: int = 0) -> None:
    """What a push would have brought comes with the next lease reply."""


def nothing_is_missing(state: Replica, known: KnownCertificate) -> tuple[str, ...]:
    """A certificate that misses an order lifts what it lists, and no more: safety does not rest on asking for more (D1)."""
    return ()


def until_a_little_sooner(round_: Round, now_ns: int) -> int:
    """Whoever counts a lease shorter than it was granted stands by sooner than it must."""
    end_ns = until(round_, now_ns)
    return end_ns - (end_ns - round_.sent_ns) // 10


def pause_in_step(tries: int, base_ns: int, jitter: str) -> int:
    """The pauses grow as they should; that all grow alike costs a busy control plane some time, and no order its way."""
    return min(base_ns << min(tries, 2), max(BACKOFF_CAP_NS, base_ns))


def heads_twice_as_often(parameters: Parameters) -> int:
    return period_ns(parameters) // 2


def newest_first(state: Agent, now_ns: int) -> None:
    """In which order tasks are done is nobody's promise."""
    state.queue.reverse()
    take_next(state, now_ns)
    state.queue.reverse()


STORMS = ("swarm-storm", "kill-during-partition")

CONTROLS = (
    PlantedBug("C01", "replicas push nothing to sidecars", {"replica.dispatch:push": push_nothing}, scenarios=STORMS),
    PlantedBug("C02", "NEEDS_CONTEXT is never answered", {"replica.resumes:unshown": nothing_is_missing}, scenarios=("swarm-storm", "resume-race")),
    PlantedBug(
        "C03", "a lease is counted shorter than it is", {"leases:until": until_a_little_sooner}, scenarios=(*STORMS, "paused-across-its-lease")
    ),
    PlantedBug("C04", "pauses between tries have no jitter", {"traffic:pause_ns": pause_in_step}, scenarios=(*STORMS, "one-tenant-floods")),
    PlantedBug("C05", "heads are signed twice as often", {"publication:period_ns": heads_twice_as_often}, scenarios=("swarm-storm", "swarm-disks")),
    PlantedBug(
        "C06", "agents take their newest task first", {"agent:take_next": newest_first}, scenarios=("swarm-storm", "agent-killed-mid-checkpoint")
    ),
)
