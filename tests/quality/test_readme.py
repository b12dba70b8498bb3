"""The README's worked example happens as it is told: its figures are those of the run that it names."""

from __future__ import annotations

from pathlib import Path

from harness import planted
from harness.shared.implementation import Killswitch
from harness.single import simulate
from harness.verdict import Verdict
from harness.version import version
from reports.words import readable
from scenarios import load
from scenarios.draw import draw

README = (Path(__file__).resolve().parents[2] / "README.md").read_text("utf-8")


def test_the_violation_of_the_readme_happens_and_the_implementation_stands() -> None:
    schedule = draw(load.load(load.find("minority-grants-nothing")), 1, version())
    found = simulate(schedule, planted.COLLECTION["B02"]).result
    broken = [finding for finding in found.findings if finding.verdict is Verdict.INVALID]
    held = len(found.findings) - len(broken)
    assert f"{held} held, not: {', '.join(finding.invariant for finding in broken)}" in README
    assert f"invalid S1 in minority-grants-nothing, seed 1: {readable(broken[0].why)}" in README
    assert len(broken[0].witness) == 7, "the README explains seven facts"
    sound = simulate(schedule, Killswitch()).result
    assert sound.verdict is Verdict.VALID
    assert f"{len(sound.findings)} of {len(sound.findings) + len(sound.not_judged)} invariants hold" in README
