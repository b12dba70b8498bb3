"""Hosts that are cloned for real: two processes of one name and one set of keys, until one of them is ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.checkers.jury import check
from harness.live.driver import play
from harness.shared.doubles import COPY
from harness.verdict import Verdict
from tests.live.runs import assert_sound, attestations
from tests.live.schedules import MS, SECOND, SIDECAR, fault, short

pytestmark = [pytest.mark.live, pytest.mark.slow]


@pytest.fixture(autouse=True)
def server_is_there(toxiproxy_binary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALTPROOF_TOXIPROXY", str(toxiproxy_binary))


@pytest.mark.parametrize("survivor", ["original", "clone"])
def test_of_two_hosts_that_run_under_one_name_one_is_left_and_both_are_judged(tmp_path: Path, mark: str, survivor: str) -> None:
    schedule = short(
        fault("twins", "clone", 800 * MS, 2200 * MS, targets=(SIDECAR,), survivor=survivor),
        fault("again", "clone", 1200 * MS, 500 * MS, targets=("sidecar/acme/2",), survivor="clone"),
        duration_ns=4 * SECOND, settle_ns=3 * SECOND,
    )  # fmt: skip
    played = play(schedule, "killswitch", tmp_path)
    assert_sound(played)
    history, twin = played.history, SIDECAR + COPY
    ended, left = (twin, SIDECAR) if survivor == "original" else (SIDECAR, twin)
    seen = {name: [fact.body["measured"] for fact in facts] for name, facts in attestations(history).items()}
    assert seen["twins"][0] == {"living": 2, "booted_anew": 1}
    assert seen["twins"][1]["gone"] == 1 and min(seen["twins"][1]["original_heard"], seen["twins"][1]["copy_heard"]) > 0
    assert seen["again"] == [{"living": 0, "booted_anew": 0}], "one host in a run"
    (cloned,), (end,) = history.of("node-cloned"), history.of("clone-ended")
    assert (cloned.node, cloned.body["copy"]) == (SIDECAR, twin) and (end.node, end.body["survivor"]) == (ended, left)
    boots = [fact for fact in history.of("node-started") if fact.node in (SIDECAR, twin)]
    assert [fact.node for fact in boots] == [SIDECAR, twin] and boots[1].body["records"] == cloned.body["records"] > 0
    assert boots[0].body["boot"] != boots[1].body["boot"] and boots[0].body["instance"] != boots[1].body["instance"]
    assert [fact for fact in history if fact.node == ended and end.at_ns < fact.at_ns < history.facts[-1].at_ns] == []
    verified = {fact.node for fact in history.of("log-verified")}
    assert left in verified and ended not in verified
    assert {finding.invariant for finding in check(history) if finding.verdict is not Verdict.VALID} == set()
