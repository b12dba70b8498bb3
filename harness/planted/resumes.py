"""Planted bugs of resumes: who is heard for a draft, what approvers are shown, how long an approval is good, and what a certificate lifts."""

from __future__ import annotations

from collections.abc import Iterable
from weakref import WeakKeyDictionary

from msgspec import structs

from harness.planted.bug import PlantedBug
from killswitch.core import federation, intent, trust
from killswitch.core.certificates import ResumeStatus, ResumeSubmit
from killswitch.core.intent import Intent, KnownCertificate, KnownOrder
from killswitch.core.messages import ASK_ANOTHER, COUNTER_MAX, IntentRead
from killswitch.core.outlet import send
from killswitch.core.policy import Ruling
from killswitch.core.replica import dispatch, resumes
from killswitch.core.replica import state as replica_state
from killswitch.core.replica.state import Draft, Replica
from killswitch.core.stamps import Reading

_end_here = resumes.end_here
_on_submit = resumes.on_submit
_heard: WeakKeyDictionary[Replica, set[str]] = WeakKeyDictionary()
_uncovered = replica_state.uncovered
_ends = resumes.ends


def lifts_everything_older(known: Intent, certificate: KnownCertificate) -> set[str]:
    """As a register with an epoch would: whatever of the scope is known when the resume arrives counts as older than it."""
    body = certificate.body
    return set(body.covers) | {order.id for order in known.orders.values() if intent.includes(body.tenant, body.scope, order.body)}


def told_is_heard(state: Replica, orders: Iterable[str]) -> set[str]:
    """It has arrived, so it has been learned."""
    return set()


def approved_is_approved(state: Replica, known: KnownCertificate) -> tuple[str, ...]:
    return ()


def heard_itself(state: Replica, draft: Draft) -> bool:
    return True


def signed_is_for_ever(state: Replica, known: KnownCertificate) -> int | None:
    """Approvers have signed, and signatures do not age."""
    return COUNTER_MAX


def any_boot_will_do(state: Replica, known: KnownCertificate) -> int | None:
    """The number is there; that the clock it was read off began anew since is overlooked."""
    return next((each.clock_ns for each in known.body.ends if each.replica == state.node), None)


def on_a_true_clock(state: Replica, draft: Draft, now_ns: int) -> tuple[Reading, ...]:
    """Whose clock is not true?"""
    read = {**draft.read, state.node: Reading(state.node, state.boot, now_ns)}
    return tuple(structs.replace(each, clock_ns=each.clock_ns + state.parameters.approval_ns) for _, each in sorted(read.items()))


def by_a_clock_in_doubt(state: Replica, known: KnownCertificate) -> int | None:
    """The draft heard this replica, so it can tell."""
    own = [each for each in known.body.ends if each.replica == state.node]
    return None if known.body.ends and not own else next((each.clock_ns for each in own if each.boot == state.boot), 0)


def heard_is_heard(state: Replica, draft: Draft) -> bool:
    """Enough others have told what they know."""
    cells = federation.concerned(state.config, draft.request.scope)
    return all(sum(replica in draft.heard for replica in cell.replicas) > len(cell.replicas) - cell.kill_quorum for cell in cells)


def effective_alone(state: Replica) -> list[KnownOrder]:
    """What is not effective yet binds nobody, so why trouble approvers with it."""
    return [known for known in _uncovered(state) if known.id in state.effective]


def tells_what_it_knows(state: Replica, message: IntentRead, sender: str, now_ns: int) -> None:
    """What it has learned again counts as well as anybody's."""
    dispatch.tell_intent(state, message.nonce, sender, now_ns, counts=True)


def more_than_it_takes(state: Replica, known: KnownCertificate, ruling: Ruling) -> bool:
    """Off by one."""
    return not ruling.allowed or len(trust.approvers(state.trust, known)) <= ruling.approvals


def any_later_policy(state: Replica, known: KnownCertificate) -> bool:
    """What was ruled on under another policy was not ruled on."""
    return state.policies.in_force.seq != known.body.decision.policy_seq


def on_the_safe_side(state: Replica, known: KnownCertificate) -> int | None:
    """A margin for whatever clocks do, as long as people have to approve."""
    end_ns = _end_here(state, known)
    return None if end_ns is None else end_ns - state.parameters.approval_ns


def ask_me_twice(state: Replica, submit: ResumeSubmit, sender: str, now_ns: int) -> None:
    """Whoever means it asks again."""
    if submit.request not in _heard.setdefault(state, set()):
        _heard[state].add(submit.request)
        return
    _on_submit(state, submit, sender, now_ns)


def until_its_own_end(state: Replica, draft: Draft, now_ns: int) -> tuple[Reading, ...]:
    """Who drafts it takes it in."""
    return tuple(end for end in _ends(state, draft, now_ns) if end.replica == state.node)


def asked_for_its_age_again(state: Replica, submit: ResumeSubmit, sender: str, now_ns: int) -> None:
    """Approvals end, whoever has seen them before."""
    known = trust.read_certificate(state.trust, submit.certificate)
    if known is not None and known.id in state.intent.certificates:
        end_ns = _end_here(state, known)
        if end_ns is None or now_ns >= end_ns:
            stage = ASK_ANOTHER if end_ns is None else "EXPIRED"
            send(state, sender, ResumeStatus(submit.request, known.id, stage, why="too late"))
            return
    _on_submit(state, submit, sender, now_ns)


BUGS = (
    PlantedBug("B03", "a resume lifts whatever is older than it, not what it lists", {"intent:lifts": lifts_everything_older}, ("S7", "S6", "S1"),
               ("resume-race", "swarm-storm"), "medium"),
    PlantedBug("B41", "a resume is drafted from one replica's knowledge, and lifts all that its scope holds",
               {"intent:lifts": lifts_everything_older, "replica.resumes:heard_enough": heard_itself,
                "replica.resumes:unshown": approved_is_approved},
               ("S7", "S5", "S6", "L10"), ("resume-race", "swarm-storm"), "easy"),
    PlantedBug("B67", "a resume is drafted from what one replica knows", {"replica.resumes:heard_enough": heard_itself}, ("S20",),
               ("resume-asked-of-a-stranger",), "easy"),
    PlantedBug("B134", "an approval never ends", {"replica.resumes:end_here": signed_is_for_ever}, ("S13",), ("approved-too-late",), "easy"),
    PlantedBug("B135", "the end of an approval is believed after a reboot", {"replica.resumes:end_here": any_boot_will_do}, ("S13",),
               ("approved-too-late",), "medium"),
    PlantedBug("B136", "the end of an approval leaves no margin for drift", {"replica.resumes:ends": on_a_true_clock}, ("S13",),
               ("approved-too-late",), "medium"),
    PlantedBug("B142", "a replica that doubts its clock lets certificates in by it", {"replica.resumes:end_here": by_a_clock_in_doubt}, ("S13",),
               ("clocks-that-run-away",), "easy"),
    PlantedBug("B188", "a replica that may have forgotten drafts resumes", {"replica.resumes:heard_enough": heard_is_heard}, ("S20",),
               ("resume-asked-of-who-forgot",), "easy"),
    PlantedBug("B191", "a resume shows approvers effective orders only, and is let in against any other",
               {"replica.resumes:uncovered": effective_alone}, ("S20",), ("resume-asked-before-the-kill-is-effective", "swarm-storm"), "easy"),
    PlantedBug("B192", "a resume is let in whatever came since approvers were shown its draft", {"replica.resumes:unshown": approved_is_approved},
               ("S20",), ("resume-asked-before-the-kill-is-effective", "swarm-storm"), "easy"),
    PlantedBug("B199", "the word of who may have forgotten counts for drafts", {"replica.dispatch:on_intent_read": tells_what_it_knows}, ("S20",),
               ("resume-drafted-on-the-word-of-who-forgot",), "easy"),
    PlantedBug("B339", "as many approvals as policy asks for are too few", {"replica.resumes:is_refused": more_than_it_takes}, ("L6",),
               ("resumed-within-a-lease", "swarm-storm"), "easy"),
    PlantedBug("B340", "a resume is drafted anew for every policy that comes into force", {"replica.resumes:is_stale": any_later_policy}, ("L6",),
               ("resume-approved-under-a-later-policy",), "easy"),
    PlantedBug("B341", "the margin of an approval's end leaves nothing of the time to approve", {"replica.resumes:end_here": on_the_safe_side},
               ("L6",), ("resumed-within-a-lease", "swarm-storm"), "easy"),
    PlantedBug("B342", "a resume is not answered when it is first handed in", {"replica.resumes:on_submit": ask_me_twice}, ("L6",),
               ("stopped-resumed-and-stopped-again",), "easy"),
    PlantedBug("B350", "a draft does not wait for orders that the replica was told of and has yet to read",
               {"replica.resumes:unread": told_is_heard}, ("S20",), ("resume-asked-while-an-order-is-unread",), "easy"),
    PlantedBug("B416", "a resume that was let in is asked for its age again", {"replica.resumes:on_submit": asked_for_its_age_again}, ("L6",),
               ("let-in-and-not-told",), "easy"),
    PlantedBug("B418", "a draft can be handed in to who drafted it alone", {"replica.resumes:ends": until_its_own_end}, ("S20",),
               ("approved-too-late",), "easy"),
)  # fmt: skip
