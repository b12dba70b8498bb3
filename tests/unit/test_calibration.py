"""The noise of a host: read off traces as it is, shown as it is, and used for one thing only."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from harness import calibration, live_campaign, results_store
from harness.live import driver
from harness.live.noise import samples
from harness.results import Calibration, Noise
from harness.shared import implementation
from harness.shared.history import History
from harness.single import simulate
from harness.verdict import Finding, Verdict
from killswitch.core.events import Append, Boot, Durable, Effect, Input, Receive, Record, Send, SetTimer, Timer
from killswitch.core.messages import LeaseReply, LeaseRequest, Token
from killswitch.live.trace import Released, Started, Step
from reports import calibration as shown
from reports.markdown import markdown
from reports.page import html
from reports.view import build
from scenarios.draw import draw
from scenarios.load import find, load
from scenarios.schedule import Schedule
from tests.unit import campaigns
from tests.unit.campaigns import MS

NAME = "kill-during-partition"
AHEAD_MS = 7_000  # of the host's clock, the node's own
TOKEN = Token(1, 1, "i")
BOOT = Boot((), "b", "i")


def step(at_ms: int, event: Input, *effects: Effect) -> Step:
    return Step(at_ms * MS, (AHEAD_MS + at_ms) * MS, event, list(effects))


def timer(name: str, at_ms: int | None) -> SetTimer:
    return SetTimer(name, None if at_ms is None else (AHEAD_MS + at_ms) * MS)


def record(seq: int) -> Append:
    return Append(Record(seq, b"", "ORDER", 0, "b", b"", b""))


def request(nonce: str, replica: str = "replica/1", after_lsn: int = 0) -> Send:
    return Send(replica, LeaseRequest("acme/1", TOKEN, nonce, "", 0, "RUNNING"), after_lsn)


def reply(nonce: str, replica: str = "replica/1") -> Receive:
    return Receive(replica, LeaseReply("acme/1", nonce, TOKEN, replica, 0, "", "", TOKEN, 0))


def test_a_timer_is_late_from_when_it_is_due_on_the_nodes_own_clock() -> None:
    found = samples([
        Started(0, "sidecar/acme/1", 1),
        step(0, BOOT, timer("a", 100), timer("b", 100), timer("c", 50), timer("d", -5_000)),
        step(10, Timer("d")),
        step(60, Durable(1), timer("c", None), timer("b", 200)),
        step(103, Timer("a")),
        step(200, Timer("b")),
        step(201, Timer("never-set")),
    ])  # fmt: skip
    assert found.timer == [10 * MS, 3 * MS, 0]


def test_a_commit_serves_all_records_that_waited_for_it() -> None:
    found = samples([step(0, BOOT, record(1)), step(4, Timer("x"), record(2), record(3)), step(9, Durable(2)), step(30, Durable(3))])
    assert sorted(found.sync) == [5 * MS, 9 * MS, 26 * MS]


def test_a_trip_is_from_request_to_answer_and_the_first_waits_for_a_connection() -> None:
    found = samples([
        step(0, BOOT, request("n1"), request("n1", "replica/2")),
        step(400, reply("n1")),
        step(500, Timer("renew"), request("n2"), request("n2", "replica/2")),
        step(503, reply("n2")),
        step(504, reply("n2")),
        step(505, reply("n2", "replica/2")),
        step(600, Timer("renew"), request("n3", after_lsn=4)),
        Released(620 * MS, 0, request("n3", after_lsn=4)),
        step(627, reply("n3")),
    ])  # fmt: skip
    assert found.trip == [3 * MS, 7 * MS]


def test_what_was_under_way_when_a_process_died_is_nobodys() -> None:
    begun = step(0, BOOT, timer("a", 10), record(1), request("n1"))
    found = samples([begun, step(900, BOOT), step(901, Timer("a")), step(902, Durable(1)), step(903, reply("n1"))])
    assert (found.timer, found.sync, found.trip) == ([], [], [])


def noisy(total_ms: int) -> Calibration:
    worst = Noise(samples=9, p99_ns=MS, worst_ns=(total_ms - 20) * MS)
    ten = Noise(samples=9, p99_ns=MS, worst_ns=10 * MS)
    return Calibration(scenario=NAME, wall_s=3.04, timer=ten, trip=worst, sync=ten)


def broken(invariant: str, observed_ms: int | None = None, verdict: Verdict = Verdict.INVALID) -> Finding:
    timed = {} if observed_ms is None else {"observed_ns": observed_ms * MS, "bound_ns": 5_000 * MS}
    return Finding(invariant=invariant, verdict=verdict, why="too late", witness=(3,), examined=1, **timed)


@pytest.mark.parametrize("noise", [None, noisy(500), Calibration(scenario=NAME, wall_s=1.0, why="no server")])
def test_a_host_within_the_slack_or_never_measured_excuses_nothing(noise: Calibration | None) -> None:
    findings = (broken("L1", 5_001), broken("L6"), broken("S1", 5_001))
    assert calibration.weigh(findings, noise, 500 * MS) == findings


def test_a_host_beyond_the_slack_leaves_a_broken_time_limit_undecided_and_never_makes_a_pass() -> None:
    held = broken("L1", 4_000, Verdict.VALID)
    findings = (broken("L1", 5_600), broken("L6"), held, broken("L2", verdict=Verdict.UNKNOWN))
    weighed = calibration.weigh(findings, noisy(601), 600 * MS)
    assert [each.verdict for each in weighed] == [Verdict.UNKNOWN, Verdict.UNKNOWN, Verdict.VALID, Verdict.UNKNOWN]
    assert weighed[0].why == "too late; undecided, for by itself this host adds up to 601000000 ns, more than the slack of 600000000 ns"
    assert weighed[0].witness == (3,) and weighed[2:] == findings[2:]


@pytest.mark.parametrize("finding", [broken("L1", 5_602), broken("S1", 5_001), broken("S2", 5_001), broken("S8"), broken("L8")])
def test_what_noise_cannot_account_for_stays_a_violation(finding: Finding) -> None:
    assert calibration.weigh((finding,), noisy(601), 600 * MS) == (finding,)


def played_live(history: History, directory: Path, why: str = "") -> driver.PlayedLive:
    return driver.PlayedLive(
        history=history, ended="complete", why=why, left=("a mount",), fired={}, wall_ns=1, containment="", directory=directory, logs={}, public={}
    )


def test_a_run_is_judged_with_the_noise_of_its_host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One sidecar never learns: the very same history is violated on a quiet host, and undecided on a noisy one."""
    schedule = draw(load(find(NAME)), 3, "test")
    history = simulate(schedule, implementation.load("killswitch")).history
    deaf = History(fact for fact in history if not (fact.kind == "order-learned" and fact.node == "sidecar/acme/2"))

    def play(schedule: Schedule, implementation: str, directory: Path, watch: Any = None) -> driver.PlayedLive:
        return played_live(deaf, directory)

    monkeypatch.setattr(driver, "play", play)
    slack_ms = schedule.parameters.slack_ns // MS
    verdicts = {}
    for total_ms in (slack_ms, slack_ms + 1):
        judged, left = live_campaign.play(schedule, "killswitch", tmp_path, noisy(total_ms))
        found = {finding.invariant: finding.verdict for finding in judged.result.findings}
        verdicts[total_ms] = (found["L1"], judged.result.simulated is not None and judged.result.simulated.verdict, left)
    assert verdicts == {
        slack_ms: (Verdict.INVALID, Verdict.VALID, ("a mount",)), slack_ms + 1: (Verdict.UNKNOWN, Verdict.VALID, ("a mount",)),
    }  # fmt: skip


def test_the_largest_cell_is_played_in_peace_and_a_failure_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[Schedule] = []

    def play(schedule: Schedule, implementation: str, directory: Path) -> driver.PlayedLive:
        seen.append(schedule)
        return played_live(History(), directory, "the server died")

    monkeypatch.setattr(driver, "play", play)
    small, large = (draw(load(find(name)), 1, "test") for name in (NAME, "soft-in-peace"))
    measured, left = calibration.calibrate([small, large, small], tmp_path)
    assert (measured.scenario, measured.why, measured.worst_ns, left) == ("soft-in-peace", "the server died", 0, ("a mount",))
    (peace,) = seen
    assert (peace.topology, peace.timeline, peace.clocks) == (large.topology, (), large.clocks)
    assert 0 < len(peace.work) < len(large.work)
    assert peace.duration_ns + peace.settle_ns <= 3_000 * MS


def test_the_reports_say_what_was_measured_and_that_no_bound_is_widened(tmp_path: Path) -> None:
    out = campaigns.write(tmp_path)
    results = results_store.load(out)
    results_store.save(out, structs.replace(results.campaign, calibration=noisy(300)), results.runs)
    assert results_store.load(out).campaign.calibration == noisy(300)
    for text in (html(build(out)), markdown(build(out))):
        assert "Bounds are not widened: what this host adds, 300 ms if" in text and "280 ms" in text and "in 3.0 s" in text
    failed = shown.view(Calibration(scenario=NAME, wall_s=1.0, why="the server died"))
    assert failed is not None and failed.where == "Not measured: the server died." and "no violation is excused" in failed.meaning
