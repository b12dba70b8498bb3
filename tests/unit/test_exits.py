"""Exit codes: what a verdict, and what a campaign earns."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from harness.exits import Exit, of_campaign, of_verdict
from harness.verdict import Verdict
from tests.unit.campaigns import campaign, run


def test_the_numbers_are_a_promise_to_scripts() -> None:
    assert {code.name: int(code) for code in Exit} == {
        "VALID": 0, "INVALID": 1, "UNKNOWN": 2, "STOPPED": 3, "RESIDUE": 4, "CAPABILITY": 5, "USAGE": 64, "SCENARIO": 65, "BUG": 70,
        "INTERRUPTED": 130, "BROKEN_PIPE": 141, "TERMINATED": 143,
    }  # fmt: skip


@pytest.mark.parametrize(("verdict", "code"), [(Verdict.VALID, 0), (Verdict.INVALID, 1), (Verdict.UNKNOWN, 2)])
def test_a_verdict_has_its_code_and_only_valid_is_success(verdict: Verdict, code: int) -> None:
    assert of_verdict(verdict) == code
    assert of_campaign(replace(campaign(), verdict=verdict), [run("a", 1, verdict)]) == code


@pytest.mark.parametrize("why", ["stop condition: unbounded-agents above 0", "safety lever: smoke in the hall"])
def test_what_ended_a_run_early_shows_in_the_code(why: str) -> None:
    stopped = run("a", 1, Verdict.INVALID, ended=why)
    assert of_campaign(replace(campaign(), verdict=Verdict.INVALID), [run("a", 2, Verdict.VALID), stopped]) is Exit.STOPPED
