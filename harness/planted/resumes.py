"""Planted bugs of resumes: what approvers are shown, and what is let in that they were not shown."""

from __future__ import annotations

from harness.planted.bug import PlantedBug
from killswitch.core.intent import KnownCertificate, KnownOrder
from killswitch.core.messages import IntentRead
from killswitch.core.replica import dispatch
from killswitch.core.replica import state as replica_state
from killswitch.core.replica.state import Replica

_uncovered = replica_state.uncovered


def effective_alone(state: Replica) -> list[KnownOrder]:
    """What is not effective yet binds nobody, so why trouble approvers with it."""
    return [known for known in _uncovered(state) if known.id in state.effective]


def approved_is_approved(state: Replica, known: KnownCertificate) -> tuple[str, ...]:
    return ()


def tells_what_it_knows(state: Replica, message: IntentRead, sender: str, now_ns: int) -> None:
    """What it has learned again counts as well as anybody's."""
    dispatch.tell_intent(state, message.nonce, sender, now_ns, counts=True)


BUGS = (
    PlantedBug("B191", "a resume shows approvers effective orders only, and is let in against any other",
               {"replica.resumes:uncovered": effective_alone}, ("S20",), ("resume-asked-before-the-kill-is-effective", "swarm-storm"), "easy"),
    PlantedBug("B192", "a resume is let in whatever came since approvers were shown its draft", {"replica.resumes:unshown": approved_is_approved},
               ("S20",), ("resume-asked-before-the-kill-is-effective", "swarm-storm"), "easy"),
    PlantedBug("B199", "the word of who may have forgotten counts for drafts", {"replica.dispatch:on_intent_read": tells_what_it_knows},
               ("S20",), ("resume-drafted-on-the-word-of-who-forgot",), "easy"),
)  # fmt: skip
