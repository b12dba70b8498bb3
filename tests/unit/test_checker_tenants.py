"""S14 on histories made by hand: what a sidecar is shown of another tenant."""

from __future__ import annotations

import pytest

from harness.verdict import Verdict
from tests.unit.histories import SECOND, SIDECAR, Story


def shown(story: Story, sender: str = "replica/1", tenant: str = "globex") -> int:
    return story.say("foreign-news", SIDECAR, what="order", id="o1", tenant=tenant, sender=sender)


def test_s14_no_sidecar_is_shown_what_is_another_tenants() -> None:
    story = Story()
    story.start_all()
    assert story.judged("S14").verdict is Verdict.VALID
    news = shown(story)
    finding = story.judged("S14")
    assert (finding.verdict, finding.witness, finding.examined) == (Verdict.INVALID, (news,), 1)


@pytest.mark.parametrize(
    ("source", "after_ns", "excused"),
    [("replica/1", 0, True), ("replica/1", SECOND, True), ("replica/1", SECOND + 1, False), ("replica/2", 0, False)],
)
def test_s14_what_somebody_made_up_in_that_name_is_nobodys_secret(source: str, after_ns: int, excused: bool) -> None:
    story = Story()
    story.start_all()
    story.say("hostile-input", SIDECAR, sender=source, what="order", read=True)
    story.at(after_ns)
    shown(story)
    finding = story.judged("S14")
    assert (finding.verdict is Verdict.VALID, finding.examined) == (excused, int(not excused))
