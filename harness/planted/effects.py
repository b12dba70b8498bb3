"""Planted bugs of effects on their way out: what a sink lets in, which challenge still counts, and what is sent or answered a second time."""

from __future__ import annotations

from harness.planted.bug import PlantedBug
from killswitch.core import sink
from killswitch.core.messages import NO_TOKEN, Apply, Challenge, ChallengeRequest, Query, QueryResult, SinkClass
from killswitch.core.sidecar import permits
from killswitch.core.sidecar import state as sidecar_state
from killswitch.core.sidecar.state import Permit, Sidecar
from killswitch.core.sink import Sink

_challenge = sink.on_challenge_request
_on_query = sink.on_query
_on_query_result = permits.on_query_result
_refusal = sink.refusal
_retry = permits.retry


def lets_everything_in(state: Sink, message: Apply, now_ns: int) -> str:
    return ""


def asking_takes_nothing_back(state: Sink, message: Query, sender: str) -> None:
    """A question changes nothing."""
    challenges = dict(state.challenges)
    _on_query(state, message, sender)
    state.challenges = challenges


def admitted_when_it_was_asked_for(state: Sidecar, challenge: Challenge, now_ns: int) -> None:
    """It was let in, and this is only the sink's part of it."""
    permit = state.permits.get(challenge.key)
    if permit is not None and not permit.sent and challenge.sink == permit.sink:
        permit.nonce = challenge.nonce
        permits.send_apply(state, permit, now_ns)


def send_until_it_answers(state: Sidecar, permit: Permit, now_ns: int) -> None:
    """No answer means that it did not arrive."""
    if permit.sent and state.config.sinks[permit.sink] == SinkClass.UNBOUNDED and sidecar_state.admit(state, permit.cls, now_ns):
        permits.send_apply(state, permit, now_ns)
    else:
        _retry(state, permit, now_ns)


def answered_by_silence(state: Sidecar, permit: Permit, now_ns: int) -> None:
    """The agent was told, and puts it down."""
    _retry(state, permit, now_ns)
    permits.end_doubt(state, permit.key)


def answered_is_answered(state: Sink, message: Apply, now_ns: int) -> str:
    """Each nonce is good once; when its answer comes is the network's business."""
    key, _ = state.challenges.get(message.nonce, ("", 0))
    if key == message.key:
        state.challenges[message.nonce] = (key, now_ns)
    return _refusal(state, message, now_ns)


def numbered_anew(state: Sink, message: ChallengeRequest, sender: str, now_ns: int) -> None:
    """One challenge of this sink after the other."""
    instance, state.instance = state.instance, state.node
    _challenge(state, message, sender, now_ns)
    state.instance = instance


def said_is_said(state: Sidecar, result: QueryResult) -> None:
    """An effect has one answer, and whoever asks again is given that."""
    kept = dict(state.answered)
    _on_query_result(state, result)
    state.answered.update(kept)


def numbers_alone(state: Sink, message: Apply, now_ns: int) -> str:
    """Tokens are numbered."""
    fence = state.fences.get(message.agent, NO_TOKEN)
    if state.kind == SinkClass.FENCED and message.key not in state.applied and message.token.counter >= fence.counter:
        return ""
    return _refusal(state, message, now_ns)


BUGS = (
    PlantedBug("B21", "nothing stands between the check and the act: sinks let everything in", {"sink:refusal": lets_everything_in}, ("S2",),
               ("paused-across-its-lease", "swarm-storm"), "medium"),
    PlantedBug("B149", "a sink that is asked about an effect goes on expecting it", {"sink:on_query": asking_takes_nothing_back}, ("S10",),
               ("asked-while-it-is-on-its-way",), "easy"),
    PlantedBug("B150", "what was let in stays let in while its sink is asked for a challenge",
               {"sidecar.permits:on_challenge": admitted_when_it_was_asked_for}, ("S19", "S3", "S1"), ("challenge-outlives-its-lease",), "easy"),
    PlantedBug("B173", "an unanswered effect is sent once more to a sink that keeps no keys", {"sidecar.permits:retry": send_until_it_answers},
               ("S9",), ("quiesce-with-work-in-flight",), "easy"),
    PlantedBug("B205", "a sink does not look at the age of the challenge that an effect answers", {"sink:refusal": answered_is_answered}, ("S2",),
               ("challenge-answered-late",), "easy"),
    PlantedBug("B243", "challenges are numbered anew with each start of a sink", {"sink:on_challenge_request": numbered_anew}, ("S2",),
               ("in-doubt-until-the-sink-is-back",), "easy"),
    PlantedBug("B255", "what did not take place, and is done again, is answered with the doubt of before",
               {"sidecar.permits:on_query_result": said_is_said}, ("L9",), ("lost-at-a-challenged-sink",), "easy"),
    PlantedBug("B256", "a sink compares the numbers of tokens, not tokens", {"sink:refusal": numbers_alone}, ("S2",),
               ("two-starts-of-one-number",), "medium"),
    PlantedBug("B496", "what a sink never answered is nothing that a clean stop waits for", {"sidecar.permits:retry": answered_by_silence},
               ("S10",), ("leaves-in-doubt",), "easy"),
)  # fmt: skip
