"""Sinks of class F, C and U: whom they refuse, what they remember, what a crash leaves (protocol 4, T3)."""

from __future__ import annotations

import pytest
from msgspec import structs

from killswitch.core import audit
from killswitch.core import sink as place
from killswitch.core.events import DiskFailed, Send
from killswitch.core.messages import Apply, ApplyResult, Challenge, ChallengeRequest, Fence, FenceAck, Message, Query, QueryResult, Token
from tests.unit import pair
from tests.unit.pair import AGENT, BANK, LEDGER, POST, SIDECAR, Link

OLD, NEW, NEWER = Token(1, 1, "a"), Token(1, 2, "b"), Token(1, 3, "c")
P = pair.PARAMETERS.challenge_ns


def sink(node: str = LEDGER) -> Link:
    link = Link(node)
    link.boot(node)
    return link


def apply(key: str = "k", token: Token = OLD, *, nonce: str = "", agent: str = AGENT) -> Apply:
    return Apply(agent, token, "task", 0, key, "new", nonce)


def tell(link: Link, message: Message, sender: str = SIDECAR) -> list[Message]:
    """The answers, whether or not they wait for the disk."""
    (node,) = link.seats
    return [effect.message for effect in link.tell(node, message, sender) if isinstance(effect, Send)]


def status(link: Link, message: Apply, sender: str = SIDECAR) -> str:
    (result,) = tell(link, message, sender)
    assert isinstance(result, ApplyResult)
    return result.status


# -- class F -------------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fence", "token", "fate"),
    [
        (None, OLD, "APPLIED"),
        (NEW, OLD, "REJECTED_FENCED"),
        (NEW, NEW, "APPLIED"),
        (NEW, NEWER, "APPLIED"),
        (Token(1, 2, ""), NEW, "APPLIED"),
        (Token(2, 0, ""), NEWER, "REJECTED_FENCED"),
    ],
)
def test_a_fence_refuses_what_is_below_it(fence: Token | None, token: Token, fate: str) -> None:
    link = sink()
    if fence is not None:
        tell(link, Fence(AGENT, fence, "order"))
    assert status(link, apply(token=token)) == fate


def test_the_payload_that_took_place_is_on_record_and_no_other() -> None:
    link = sink()
    for payload in (b"first", b"second"):
        tell(link, structs.replace(apply(), payload=payload))
    bodies = [audit.content(record) for record in link[LEDGER].records if record.kind == "APPLIED"]
    assert [body.get("payload") for body in bodies] == [b"first", None]


def test_a_fence_never_falls_and_each_answer_says_where_it_stands() -> None:
    link = sink()
    held = [tell(link, Fence(AGENT, token))[0] for token in (NEW, OLD, NEWER, NEW)]
    assert [ack.min_token for ack in held if isinstance(ack, FenceAck)] == [NEW, NEW, NEWER, NEWER]
    assert link[LEDGER].kinds().count("FENCE") == 2


def test_a_fence_holds_at_once_and_is_acknowledged_once_durable() -> None:
    link = sink()
    link[LEDGER].disk = "stuck"
    for _ in range(2):
        (ack,) = [effect for effect in link.tell(LEDGER, Fence(AGENT, NEW), SIDECAR) if isinstance(effect, Send)]
        assert ack.after_lsn == link[LEDGER].records[-1].seq
        assert status(link, apply()) == "REJECTED_FENCED"


def test_a_refusal_waits_for_the_fence_that_it_rests_on() -> None:
    """Told before the fence is durable, a sink that then crashes would let in what it had called refused for good."""
    link = sink()
    link[LEDGER].disk = "stuck"
    tell(link, Fence(AGENT, NEW))
    (refused,) = [effect for effect in link.tell(LEDGER, apply(), SIDECAR) if isinstance(effect, Send)]
    fence = next(record.seq for record in link[LEDGER].records if record.kind == "FENCE")
    assert refused.after_lsn >= fence


def test_a_key_takes_place_once_and_is_answered_alike_for_ever() -> None:
    link = sink()
    results = [tell(link, apply(token=token))[0] for token in (OLD, OLD, NEW)]
    tell(link, Fence(AGENT, NEWER))
    results += tell(link, apply())
    assert len(set(results)) == 1, "even below a fence: refused has to mean that it never took place"
    assert isinstance(results[0], ApplyResult)
    assert results[0].status == "APPLIED"


def test_a_fence_is_for_one_agent() -> None:
    link = sink()
    tell(link, Fence("acme/2", NEWER), "sidecar/acme/2")
    assert status(link, apply()) == "APPLIED"


@pytest.mark.parametrize(("done", "answer"), [(True, "APPLIED"), (False, "ABSENT")])
def test_what_a_query_is_told(done: bool, answer: str) -> None:
    link = sink()
    if done:
        tell(link, apply())
    (result,) = tell(link, Query(AGENT, "k"))
    assert isinstance(result, QueryResult)
    assert (result.status, result.result) == (answer, f"{LEDGER}#2" if done else "")


def test_a_query_waits_for_what_its_answer_rests_on() -> None:
    link = sink()
    link[LEDGER].disk = "stuck"
    tell(link, Fence(AGENT, NEW))
    (answer,) = [effect for effect in link.tell(LEDGER, Query(AGENT, "k"), SIDECAR) if isinstance(effect, Send)]
    assert answer.after_lsn == link[LEDGER].records[-1].seq


# -- class C -------------------------------------------------------------------------------------------------------------------------------


def challenged(link: Link, key: str = "k") -> str:
    (challenge,) = tell(link, ChallengeRequest(AGENT, key))
    assert isinstance(challenge, Challenge)
    return challenge.nonce


@pytest.mark.parametrize(("late_ns", "fate"), [(0, "APPLIED"), (P - 1, "APPLIED"), (P, "APPLIED"), (P + 1, "REJECTED_CHALLENGE")])
def test_a_challenge_is_answered_in_time_or_not_at_all(late_ns: int, fate: str) -> None:
    link = sink(BANK)
    nonce = challenged(link)
    link.now += late_ns
    assert status(link, apply(nonce=nonce)) == fate


@pytest.mark.parametrize("nonce", ["", "made up", "another key's"])
def test_only_the_challenge_of_this_very_key_counts(nonce: str) -> None:
    link = sink(BANK)
    other = challenged(link, "other")
    assert status(link, apply(nonce=other if nonce == "another key's" else nonce)) == "REJECTED_CHALLENGE"


def test_a_challenge_counts_once() -> None:
    link = sink(BANK)
    nonce = challenged(link)
    link.now += P + 1
    assert status(link, apply(nonce=nonce)) == "REJECTED_CHALLENGE"
    link.now -= P + 1
    assert status(link, apply(nonce=nonce)) == "REJECTED_CHALLENGE"


def test_challenges_do_not_survive_and_keys_do() -> None:
    link = sink(BANK)
    status(link, apply(nonce=challenged(link)))
    nonce = challenged(link, "second")
    link.boot(BANK)
    assert status(link, apply("second", nonce=nonce)) == "REJECTED_CHALLENGE"
    assert status(link, apply()) == "APPLIED", "a retry of what took place"
    assert link[BANK].state.applied.keys() == {"k"}


def test_there_are_only_so_many_open_challenges() -> None:
    link = sink(BANK)
    first = challenged(link, "first")
    for number in range(place.CHALLENGES_MAX):
        challenged(link, f"{number}")
    assert len(link[BANK].state.challenges) == place.CHALLENGES_MAX
    assert status(link, apply("first", nonce=first)) == "REJECTED_CHALLENGE"


# -- class U, and what the classes do not do -----------------------------------------------------------------------------------------------


def test_a_plain_sink_takes_everything_each_time_it_comes() -> None:
    link = sink(POST)
    results = [tell(link, apply())[0] for _ in range(3)]
    assert len({result.result for result in results if isinstance(result, ApplyResult)}) == 3
    (told,) = tell(link, Query(AGENT, "k"))
    assert isinstance(told, QueryResult)
    assert told.status == "UNKNOWN"
    assert tell(link, Fence(AGENT, NEWER)) == []


def test_only_a_sink_that_can_keep_its_word_calls_a_key_absent() -> None:
    answers = {}
    for node in (LEDGER, BANK, POST):
        (told,) = tell(sink(node), Query(AGENT, "never"))
        assert isinstance(told, QueryResult)
        answers[node] = told.status
    assert answers == {LEDGER: "ABSENT", BANK: "ABSENT", POST: "UNKNOWN"}


def test_a_challenged_sink_that_called_a_key_absent_takes_no_answer_to_an_earlier_challenge() -> None:
    bank = sink(BANK)
    (challenge,) = tell(bank, ChallengeRequest(AGENT, "k"))
    (other,) = tell(bank, ChallengeRequest(AGENT, "another"))
    assert isinstance(challenge, Challenge) and isinstance(other, Challenge)
    tell(bank, Query(AGENT, "k"))
    late = tell(bank, Apply(AGENT, NEWER, "t", 0, "k", "new", challenge.nonce))
    assert [message.status for message in late if isinstance(message, ApplyResult)] == ["REJECTED_CHALLENGE"]
    prompt = tell(bank, Apply(AGENT, NEWER, "t", 0, "another", "new", other.nonce))
    assert [message.status for message in prompt if isinstance(message, ApplyResult)] == ["APPLIED"]


# -- who may speak, and what survives ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sender", ["sidecar/acme/2", "sidecar/globex/1", "agent/acme/1", "operator", "replica/9", "replica/1"])
@pytest.mark.parametrize("message", [apply(), ChallengeRequest(AGENT, "k"), Query(AGENT, "k"), Fence(AGENT, NEWER)])
def test_only_its_own_sidecar_acts_for_an_agent(message: Message, sender: str) -> None:
    for node in (LEDGER, BANK):
        link = sink(node)
        may = isinstance(message, Fence) and sender == "replica/1" and node == LEDGER
        assert bool(tell(link, message, sender)) is may


def test_an_agent_of_another_tenant_is_not_let_in() -> None:
    link = sink()
    assert tell(link, apply(agent="globex/1"), "sidecar/globex/1") == []


@pytest.mark.parametrize("node", [LEDGER, BANK, POST])
def test_every_prefix_of_the_log_folds_to_what_was_answered(node: str) -> None:
    """Whatever was answered is in the log that survives, at whichever record the sink dies."""
    link = sink(node)
    for number, token in enumerate((OLD, NEW, OLD, NEWER)):
        tell(link, Fence(AGENT, token))
        nonce = challenged(link, f"{number}")
        tell(link, apply(f"{number}", token, nonce=nonce))
    answered = [(effect.after_lsn, effect.message) for effect in link[node].effects if isinstance(effect, Send)]
    records = list(link[node].records)
    for length in range(len(records) + 1):
        link[node].boot(link.now, records=records[:length])
        state = link[node].state
        for lsn, message in answered:
            if lsn and lsn <= length and isinstance(message, ApplyResult) and message.status == "APPLIED" and node != POST:
                assert state.applied[message.key] == message.result
            if lsn and lsn <= length and isinstance(message, FenceAck):
                assert state.fences[AGENT] >= message.min_token
    digest = link[node].machine.digest()
    link.boot(node)
    assert link[node].machine.digest() == digest


def test_a_sink_whose_disk_failed_says_nothing_any_more() -> None:
    link = sink()
    link.give(LEDGER, DiskFailed(1))
    assert tell(link, apply()) == []
    assert tell(link, Fence(AGENT, NEW)) == []
