"""S20 on hand-made histories: what a person is told of is no less than what was asked for."""

from __future__ import annotations

import pytest

from harness.verdict import Verdict
from tests.unit.histories import AGENT, SECOND, SEVERITY, Story


def ask(story: Story, severity: str = "SOFT", grace_ns: int = 9 * SECOND, principal: str = "alice") -> int:
    gate, life = SEVERITY[severity]
    return story.say(
        "order-requested",
        "operator",
        request="r",
        principal=principal,
        tenant="acme",
        scope=["agent", AGENT],
        gate=gate,
        life=life,
        grace_ns=grace_ns,
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
