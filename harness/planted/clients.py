"""Planted bugs of the client with which people ask: when it asks again, and whom, and what it takes for an end."""

from __future__ import annotations

from harness.planted.bug import PlantedBug
from killswitch.core import operator
from killswitch.core.bundles import RolloutStatus
from killswitch.core.cells import CellStatus
from killswitch.core.certificates import ResumeStatus, ResumeSubmit
from killswitch.core.events import Observe, SetTimer
from killswitch.core.messages import ASK_ANOTHER, OrderStatus
from killswitch.core.operator import Errand, Operator, settle

_go = operator.go
_on_resume_status = operator.on_resume_status


def whoever_is_next(state: Operator, status: RolloutStatus, sender: str) -> None:
    """Every replica hears of it."""
    if state.errands.get(status.request) is None or status.stage != "ACCEPTED":
        settle(state, status.request)


def once_somebody_has_it(status: OrderStatus) -> bool:
    return True


def sent_away(state: Operator, status: ResumeStatus, sender: str, now_ns: int) -> None:
    """It was answered, and the answer was no."""
    if status.stage == ASK_ANOTHER:
        settle(state, status.request)
    else:
        _on_resume_status(state, status, sender, now_ns)


def an_answer_is_an_answer(state: Operator, status: ResumeStatus, sender: str, now_ns: int) -> None:
    """Whoever approved too late, or was shown too little, asks again by himself."""
    if status.stage != ASK_ANOTHER:
        settle(state, status.request)


def hand_in_once(state: Operator, errand: Errand, now_ns: int) -> None:
    """It is signed and sent, and will be stored."""
    _go(state, errand, now_ns)
    if isinstance(errand.message, ResumeSubmit):
        state.effects.append(SetTimer(errand.command.request, None))


def hand_it_in_again(state: Operator, status: ResumeStatus, sender: str, now_ns: int) -> None:
    """Its approvals are as good as they were."""
    if status.stage not in ("EXPIRED", "NEEDS_CONTEXT"):
        _on_resume_status(state, status, sender, now_ns)


def somebody_will_take_it(state: Operator, errand: Errand, status: ResumeStatus, sender: str) -> bool:
    """The next one, or the one after that."""
    return False


def accepted_is_what_was_asked(state: Operator, status: RolloutStatus, sender: str) -> None:
    """Whether it comes into force, everybody will see."""
    settle(state, status.request)


def effective_wherever(state: Operator, status: CellStatus) -> None:
    """One request is one order."""
    errand = state.errands.get(status.request)
    if errand is None:
        return
    effective = errand.effective.setdefault("", {})
    effective[status.cell] = max(status.copies, effective.get(status.cell, 0))
    if all(cell.name in effective for cell in operator.homes(state, errand)):
        told = {"request": status.request, "order": status.order, "stage": "EFFECTIVE"}
        state.effects.append(Observe("order-status", {**told, "copies": sum(effective.values()), "keys": status.keys}))
        settle(state, status.request)


BUGS = (
    PlantedBug("B271", "a rollout that one replica has accepted is asked after at the next", {"operator:on_rollout_status": whoever_is_next},
               ("S21",), ("asked-after-where-it-was-accepted", "policy-storm"), "easy"),
    PlantedBug("B280", "a client that was told ACCEPTED asks nobody else", {"operator:is_final": once_somebody_has_it}, ("L1",),
               ("accepted-where-nobody-listens",), "medium"),
    PlantedBug("B313", "a client whose resume one replica cannot judge asks no other", {"operator:on_resume_status": sent_away}, ("L1",),
               ("clocks-that-run-away",), "easy"),
    PlantedBug("B314", "a resume that was approved too late is not drafted anew", {"operator:on_resume_status": an_answer_is_an_answer}, ("L1",),
               ("approved-too-late",), "easy"),
    PlantedBug("B315", "what was approved is handed in once", {"operator:go": hand_in_once}, ("L1",), ("approved-too-late",), "easy"),
    PlantedBug("B345", "a resume that was sent back is handed in again as it is", {"operator:on_resume_status": hand_it_in_again}, ("L1",),
               ("approved-too-late", "resume-asked-before-the-kill-is-effective", "resume-approved-under-a-later-policy"), "easy"),
    PlantedBug("B346", "a client asks no more of a rollout that was accepted", {"operator:on_rollout_status": accepted_is_what_was_asked}, ("L1",),
               ("asked-after-where-it-was-accepted",), "easy"),
    PlantedBug("B460", "what nobody is left to let in is handed in round after round", {"operator:is_in_vain": somebody_will_take_it}, ("L1",),
               ("drafted-by-who-is-gone",), "easy"),
    PlantedBug("B495", "of two orders that a request became in two cells, each cell counts for both", {"operator:on_cell_status": effective_wherever},
               ("S20",), ("one-request-two-orders",), "easy"),
)  # fmt: skip
