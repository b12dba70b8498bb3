"""S20 on hand-made histories of kills that failed: under which orders that may be said."""

from __future__ import annotations

import pytest

from harness.verdict import Verdict
from tests.unit.histories import AGENT, FIRST, SIDECAR, Story


@pytest.mark.parametrize("how", ["proof", "status"])
@pytest.mark.parametrize(("severity", "verdict"), [("ISOLATE", Verdict.INVALID), ("SOFT", Verdict.VALID), ("HARD", Verdict.VALID)])
def test_a_kill_fails_only_under_an_order_that_ends_something(severity: str, how: str, verdict: Verdict) -> None:
    story, about = Story(), "o1" if severity == "ISOLATE" else "o2"
    story.learn(SIDECAR, "o2", "HARD")
    learned = story.learn(SIDECAR, "o1", severity)
    if how == "proof":
        said = story.prove("o1", "KILL_FAILED")
    else:
        story.prove("o2", "KILL_FAILED")
        story.prove("o1", "GATE_CLOSED")
        said = story.say("agent-status", "operator", order=about, agent=AGENT, token=FIRST, stage="KILL_FAILED")
    finding = story.judged("S20")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or how == "status" or finding.witness == (learned, said)
