"""What every live run of a test is held to, whatever was done to it."""

from __future__ import annotations

from harness.live.driver import PlayedLive
from harness.shared.history import VOCABULARY, Fact, History
from tests.live.schedules import REPLICAS, SIDECAR, SINK


def attestations(history: History) -> dict[str, list[Fact]]:
    """{fault: its measurements}, all of which saw it."""
    unseen = [fact.body for fact in history.of("fault-unattested")]
    assert not unseen, unseen
    seen: dict[str, list[Fact]] = {}
    for fact in history.of("fault-attested"):
        seen.setdefault(fact.body["fault"], []).append(fact)
    return seen


def assert_sound(played: PlayedLive) -> None:
    """The run came to its end, in the history's vocabulary and order; the core, replayed from the traces, did byte for byte the same."""
    history = played.history
    assert (played.why, played.ended, played.left) == ("", "complete", ()), (played.why, played.ended, played.left)
    raised = list(history.of("step-raised"))
    assert not raised, raised
    assert [fact.at_ns for fact in history] == sorted(fact.at_ns for fact in history)
    for fact in history:
        assert set(fact.body) <= set(VOCABULARY[fact.kind][0]), fact
    assert [history.facts[0].kind, history.facts[1].kind, history.facts[-1].kind] == ["run-started", "topology", "run-ended"]
    folded = history.of("log-folded")
    assert {fact.node for fact in folded} >= {*REPLICAS, SIDECAR, SINK}
    assert all(fact.body["live"] == fact.body["folded"] and fact.body["chain_ok"] for fact in folded)
