"""S20 on hand-made histories: what a person is told of is no less than what was asked for."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import structs

from harness.verdict import Verdict
from tests.unit.histories import AGENT, SECOND, SEVERITY, Story


def ask(story: Story, severity: str = "SOFT", grace_ns: int = 9 * SECOND, principal: str = "alice", scope: tuple[str, str] = ("agent", AGENT),
        reason: str = "drill", cleanup: str = "none") -> int:  # fmt: skip
    gate, life = SEVERITY[severity]
    return story.say(
        "order-requested",
        "operator",
        request="r",
        principal=principal,
        tenant="acme",
        scope=list(scope),
        gate=gate,
        life=life,
        grace_ns=grace_ns,
        reason=reason,
        cleanup=cleanup,
    )


def tell(story: Story, order: str = "o1", stage: str = "EFFECTIVE", keys: int = 0) -> int:
    return story.say("order-status", "operator", request="r", order=order, stage=stage, copies=2, keys=keys)


@pytest.mark.parametrize(
    ("asked", "grace_ns", "made", "verdict"),
    [
        ("SOFT", 9 * SECOND, "SOFT", Verdict.VALID),
        ("SOFT", 9 * SECOND - 1, "SOFT", Verdict.INVALID),
        ("SOFT", 8 * SECOND, "HARD", Verdict.VALID),
        ("SOFT", 9 * SECOND, "QUIESCE", Verdict.VALID),
        ("SOFT", 8 * SECOND, "QUIESCE", Verdict.INVALID),
        ("SOFT", 9 * SECOND, "ISOLATE", Verdict.INVALID),
        ("ISOLATE", 0, "SOFT", Verdict.INVALID),
        ("ISOLATE", 0, "ISOLATE", Verdict.VALID),
        ("HARD", 0, "QUIESCE", Verdict.INVALID),
    ],
)
def test_less_than_what_was_asked_for_is_no_answer(asked: str, grace_ns: int, made: str, verdict: Verdict) -> None:
    story = Story()
    index = ask(story, asked, grace_ns)
    story.effective("o1", made, grace_ns=9 * SECOND)
    told = tell(story)
    finding = story.end().judged("S20")
    assert (finding.verdict, finding.examined) == (verdict, 2)
    assert verdict is Verdict.VALID or finding.witness == (index, index + 1, told)


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("the earlier order", Verdict.INVALID),
        ("both orders", Verdict.VALID),
        ("another person's", Verdict.VALID),
        ("not all that it takes", Verdict.VALID),
        ("accepted", Verdict.VALID),
        ("nothing", Verdict.VALID),
    ],
)
def test_who_asks_again_for_less_grace_is_told_of_another_order(answer: str, verdict: Verdict) -> None:
    story = Story()
    ask(story)
    story.effective("o1", "SOFT", grace_ns=9 * SECOND)
    tell(story)
    ask(story, grace_ns=SECOND, principal="bob" if answer == "another person's" else "alice")
    story.effective("o2", "SOFT", grace_ns=SECOND)
    if answer != "nothing":
        tell(story, stage="ACCEPTED" if answer == "accepted" else "EFFECTIVE", keys=int(answer == "not all that it takes"))
    if answer == "both orders":
        tell(story, "o2")
    assert story.end().judged("S20").verdict is verdict


@pytest.mark.parametrize("stage", ["EFFECTIVE", "ALREADY_COVERED"])
@pytest.mark.parametrize(
    ("again", "verdict"),
    [
        ({}, Verdict.VALID),
        ({"grace_ns": 10 * SECOND}, Verdict.INVALID),
        ({"severity": "ISOLATE"}, Verdict.INVALID),
        ({"scope": ("agent", "acme/2")}, Verdict.INVALID),
        ({"reason": "other"}, Verdict.INVALID),
        ({"cleanup": "compensate"}, Verdict.INVALID),
        ({"principal": "bob"}, Verdict.VALID),
    ],
)
def test_another_requests_order_is_no_answer(stage: str, again: dict[str, Any], verdict: Verdict) -> None:
    story = Story()
    ask(story, "QUIESCE")
    story.effective("o1", "QUIESCE", grace_ns=9 * SECOND)
    story.decide(request="r", order="o1", requested=[2, 1, 9 * SECOND])
    tell(story)
    story.certify("replica/1", "c1", "o1")
    index = ask(story, **{"severity": "QUIESCE", **again})
    told = tell(story, stage=stage)
    finding = story.end().judged("S20")
    assert finding.verdict is verdict, finding.why
    if verdict is Verdict.INVALID:
        assert "was made of another request" in finding.why
        assert (finding.witness[-1], index in finding.witness) == (told, True)


def test_a_history_of_an_earlier_version_does_not_tell_of_what_an_order_was_made() -> None:
    story = Story()
    story.effective("o1", "HARD")
    story.decide(request="r", order="o1", requested=[2, 2, 0])
    ask(story, "ISOLATE")
    asked = story.facts[-1]
    story.facts[-1] = structs.replace(asked, body={name: value for name, value in asked.body.items() if name != "reason"})
    tell(story)
    assert story.end().judged("S20").verdict is Verdict.VALID


@pytest.mark.parametrize(("own", "verdict"), [("never", Verdict.INVALID), ("late", Verdict.VALID), ("at once", Verdict.VALID)])
def test_each_request_of_a_name_has_an_answer_of_its_own(own: str, verdict: Verdict) -> None:
    story = Story()
    for order, severity in (("o1", "HARD"), ("o2", "ISOLATE"), ("o3", "QUIESCE")):
        story.effective(order, severity)
        story.decide(request="r", order=order, requested=[*SEVERITY[severity], 0])
    ask(story, "HARD", 0)
    tell(story)
    ask(story, "ISOLATE", 0)
    tell(story)
    if own == "at once":
        tell(story, "o2")
    ask(story, "QUIESCE", 0)
    tell(story, "o3")
    if own == "late":
        tell(story, "o2")
    assert story.end().judged("S20").verdict is verdict


def test_what_is_told_once_another_was_asked_for_is_no_answer_to_the_one_before() -> None:
    story = Story()
    ask(story, "HARD", 0)
    ask(story, "ISOLATE", 0)
    story.effective("o2", "ISOLATE")
    story.decide(request="r", order="o2", requested=[2, 0, 0])
    tell(story, "o2")
    assert story.end().judged("S20").verdict is Verdict.VALID
