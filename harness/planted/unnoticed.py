"""Planted bugs that a stranger made and that nobody noticed: promises ahead of the disk, drafts of what a single replica knows."""

from __future__ import annotations

from harness.planted.bug import PlantedBug
from killswitch.core.intent import View
from killswitch.core.lessons import Lesson, Promised
from killswitch.core.messages import StartRequest
from killswitch.core.outlet import parts, send
from killswitch.core.replica import grants
from killswitch.core.replica.state import Draft, Replica
from killswitch.core.sidecar import starts
from killswitch.core.sidecar.state import Sidecar

_extend_lease = starts.extend_lease
_reply = grants.reply


def promise_before_sync(
    state: Replica, request: StartRequest, view: View, *, granted: bool, why: str = "", after_lsn: int = 0, now_ns: int = 0
) -> None:  # fmt: skip
    _reply(state, request, view, granted=granted, why=why, now_ns=now_ns)


def heard_itself(state: Replica, draft: Draft) -> bool:
    return True


def careful_for_good(state: Sidecar, until_ns: int, nonce: str, now_ns: int) -> None:
    """It died once: better to mark every order before it is read."""
    cautious = state.attempts.cautious
    _extend_lease(state, until_ns, nonce, now_ns)
    state.attempts.cautious = cautious


def never_too_late_to_learn(state: Replica) -> bool:
    """What is said while the record of the lessons is on its way to the disk is learned, too."""
    return state.joining


def teach_before_sync(state: Replica, nonce: str, sender: str) -> None:
    """Whoever forgot is in a hurry."""
    promised = (Promised(agent, *parts(token)) for agent, token in sorted(state.promised.items()))
    send(state, sender, Lesson(nonce, tuple(promised)))


BUGS = (
    PlantedBug("B66", "a replica tells of a promise before its disk does", {"replica.grants:reply": promise_before_sync},
               ("S11",), ("swarm-storm",), "easy"),
    PlantedBug("B67", "a resume is drafted from what one replica knows", {"replica.resumes:heard_enough": heard_itself},
               ("S20",), ("resume-asked-of-a-stranger",), "easy"),
    PlantedBug("B139", "a sidecar that restarted reads orders with care for good", {"sidecar.starts:extend_lease": careful_for_good},
               ("S3",), ("stop-on-a-slow-disk-after-a-restart",), "easy"),
    PlantedBug("B219", "what a replica is taught while its lessons go on record is vouched for, and on no record",
               {"replica.joining:listens": never_too_late_to_learn}, ("S11",), ("taught-while-others-start",), "medium"),
    PlantedBug("B220", "a replica teaches promises before its disk holds them", {"replica.joining:tell_promises": teach_before_sync},
               ("S11",), ("taught-while-others-start",), "easy"),
)  # fmt: skip
