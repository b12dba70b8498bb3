"""S13 on histories made by hand: effects that nobody let out, and changes of the keyset that were left out."""

from __future__ import annotations

import pytest

from harness.verdict import Verdict
from tests.unit.histories import SIDECAR, Story


def test_s13_what_a_sink_applies_was_let_out_by_the_agents_own_sidecar() -> None:
    story = Story()
    story.start_all()
    story.spawn()
    story.admit(key="k1")
    story.apply(key="k1")
    assert story.judged("S13").verdict is Verdict.VALID
    forged = story.apply(key="k2")
    finding = story.judged("S13")
    assert (finding.verdict, finding.witness) == (Verdict.INVALID, (forged,))


def test_s13_facts_of_two_nodes_may_be_told_the_other_way_round() -> None:
    story = Story()
    story.start_all()
    story.spawn()
    story.apply(key="k1")
    story.admit(key="k1")
    assert story.judged("S13").verdict is Verdict.VALID


def test_s13_a_sidecar_that_died_may_have_let_out_what_nobody_tells() -> None:
    story = Story()
    story.start_all()
    story.spawn()
    story.apply(key="k1")
    story.crash(SIDECAR)
    assert story.judged("S13").verdict is not Verdict.INVALID


@pytest.mark.parametrize(
    ("versions", "verdict"), [((2, 3), Verdict.VALID), ((2, 2, 3), Verdict.VALID), ((3,), Verdict.INVALID), ((2, 4), Verdict.INVALID)]
)
def test_s13_no_change_of_the_keyset_is_left_out(versions: tuple[int, ...], verdict: Verdict) -> None:
    story = Story()
    story.start_all()
    for version in versions:
        story.say("keyset-installed", SIDECAR, version=version, authentic=True, revoked=[], rotated=[])
    assert story.judged("S13").verdict is verdict
