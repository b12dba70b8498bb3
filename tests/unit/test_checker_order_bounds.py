"""S1 and S3 on hand-made histories: at the bound is in time, one nanosecond later is not."""

from __future__ import annotations

import pytest

from harness.verdict import Verdict
from tests.unit.histories import AGENT, HARD_NS, LEDGER, SECOND, SIDECAR, Story

GRACE_NS = 8 * SECOND
SOFT_NS = 10 * SECOND  # G / (1 - rho)


def test_an_admission_exactly_at_the_hard_bound_is_in_time() -> None:
    story = Story()
    story.at(SECOND).effective("o1", "HARD")
    story.at(SECOND + HARD_NS).admit()
    finding = story.judged("S1")
    assert (finding.verdict, finding.examined, finding.observed_ns, finding.bound_ns) == (Verdict.VALID, 1, HARD_NS, HARD_NS)


@pytest.mark.parametrize("severity", ["HARD", "ISOLATE", "QUIESCE"])
def test_one_nanosecond_later_is_a_violation_with_its_proof(severity: str) -> None:
    story = Story()
    copies = story.at(SECOND).effective("o1", severity)
    lease = story.lease()
    admission = story.at(SECOND + HARD_NS + 1).admit()
    finding = story.judged("S1")
    assert finding.verdict is Verdict.INVALID
    assert finding.witness == (*copies, *lease, admission)
    assert "T1 allows 6250000000 ns" in finding.why


@pytest.mark.parametrize(
    ("cls", "late_ns", "verdict"),
    [
        ("new", HARD_NS, Verdict.VALID),
        ("new", HARD_NS + 1, Verdict.INVALID),
        ("inflight", HARD_NS + 1, Verdict.VALID),
        ("undo", SOFT_NS, Verdict.VALID),
        ("undo", SOFT_NS + 1, Verdict.INVALID),
    ],
)
def test_a_soft_order_bounds_new_tasks_by_the_lease_and_all_by_the_grace(cls: str, late_ns: int, verdict: Verdict) -> None:
    story = Story()
    story.effective("o1", "SOFT", grace_ns=GRACE_NS)
    story.at(late_ns).admit(cls)
    assert story.judged("S1").verdict is verdict


def test_one_durable_copy_makes_no_order_effective() -> None:
    story = Story()
    story.learn("replica/1", "o1")
    story.keep("replica/1", "o1")
    story.keep("replica/1", "o1")
    story.at(60 * SECOND).admit()
    assert (story.judged("S1").verdict, story.judged("S1").examined) == (Verdict.VALID, 0)


@pytest.mark.parametrize("authentic", [True, False])
def test_only_an_authentic_certificate_lifts_the_bound(authentic: bool) -> None:
    story = Story()
    story.effective("o1")
    story.certify("replica/3", "c1", "o1", authentic=authentic)
    story.at(60 * SECOND).admit()
    assert story.judged("S1").verdict is (Verdict.VALID if authentic else Verdict.INVALID)


@pytest.mark.parametrize(
    ("scope", "tenant", "concerned"),
    [
        (("agent", AGENT), "acme", True),
        (("agent", "acme/11"), "acme", False),
        (("tenant", "acme"), "acme", True),
        (("tenant", "acm"), "acm", False),
        (("tenant", "acme"), "globex", False),
        (("label", "tier=gold"), "acme", True),
        (("label", "tier=gold"), "globex", False),
        (("label", "tier"), "acme", False),
        (("global", ""), "globex", True),
    ],
)
def test_an_order_concerns_whom_its_scope_names_in_its_own_tenant(scope: tuple[str, str], tenant: str, concerned: bool) -> None:
    story = Story()
    story.effective("o1", scope=scope, tenant=tenant)
    story.at(60 * SECOND).admit()
    assert (story.judged("S1").verdict is Verdict.INVALID) is concerned


def test_a_broken_clock_of_the_sidecar_takes_the_pair_out_and_says_so() -> None:
    story = Story()
    story.effective("o1")
    story.fault("clock-drift", SIDECAR)
    story.at(60 * SECOND).admit()
    finding = story.judged("S1")
    assert finding.verdict is Verdict.VALID
    assert (finding.examined, finding.skipped) == (0, 1)
    assert "1 skipped" in finding.why


@pytest.mark.parametrize(("severity", "verdict"), [("SOFT", Verdict.VALID), ("HARD", Verdict.INVALID)])
def test_a_broken_clock_of_a_replica_excuses_a_drain_only(severity: str, verdict: Verdict) -> None:
    story = Story()
    story.effective("o1", severity, grace_ns=GRACE_NS)
    story.fault("clock-step", "replica/3")
    story.at(60 * SECOND).admit()
    assert story.judged("S1").verdict is verdict


# -- S3


def test_a_sidecar_that_knows_a_hard_order_admits_nothing() -> None:
    story = Story()
    learned = story.learn(SIDECAR, "o1", "ISOLATE")
    admission = story.admit("undo")
    finding = story.judged("S3")
    assert (finding.verdict, finding.witness, finding.examined) == (Verdict.INVALID, (learned, admission), 1)


def test_what_was_admitted_before_the_order_was_learned_is_no_matter() -> None:
    story = Story()
    story.admit("new")
    story.learn(SIDECAR, "o1")
    assert story.judged("S3").verdict is Verdict.VALID


def test_isolate_joined_with_soft_stays_closed() -> None:
    story = Story()
    isolate = story.learn(SIDECAR, "o1", "ISOLATE")
    story.learn(SIDECAR, "o2", "SOFT", grace_ns=GRACE_NS)
    admission = story.admit("inflight")
    assert story.judged("S3").witness == (isolate, admission)


@pytest.mark.parametrize(
    ("cls", "clock_ns", "verdict"),
    [
        ("new", 0, Verdict.INVALID),
        ("inflight", 100 + GRACE_NS, Verdict.VALID),
        ("inflight", 101 + GRACE_NS, Verdict.INVALID),
    ],
)
def test_a_drain_lets_out_what_is_in_flight_until_its_deadline_on_the_sidecars_clock(cls: str, clock_ns: int, verdict: Verdict) -> None:
    story = Story()
    story.learn(SIDECAR, "o1", "SOFT", grace_ns=GRACE_NS, clock_ns=100)
    story.admit(cls, clock_ns=clock_ns)
    assert story.judged("S3").verdict is verdict


def test_only_a_certificate_durable_at_the_sidecar_opens_it_again() -> None:
    story = Story()
    story.learn(SIDECAR, "o1")
    story.certify("replica/1", "c1", "o1")
    elsewhere = Story()
    elsewhere.facts = list(story.facts)
    elsewhere.admit()
    assert elsewhere.judged("S3").verdict is Verdict.INVALID
    story.certify(SIDECAR, "c1", "o1")
    story.admit()
    assert story.judged("S3").verdict is Verdict.VALID


def test_a_crash_forgets_what_was_not_durable_and_only_that() -> None:
    forgotten, kept = Story(), Story()
    for story in (forgotten, kept):
        story.start(SIDECAR)
        story.learn(SIDECAR, "o1")
        if story is kept:
            story.keep(SIDECAR, "o1")
        story.crash(SIDECAR)
        story.start(SIDECAR, instance="b")
        story.admit()
    assert forgotten.judged("S3").verdict is Verdict.VALID
    assert kept.judged("S3").verdict is Verdict.INVALID


def test_an_order_that_was_not_durable_but_was_recovered_is_known() -> None:
    story = Story()
    story.start(SIDECAR)
    learned = story.learn(SIDECAR, "o1")
    story.crash(SIDECAR)
    story.start(SIDECAR)
    story.recover(SIDECAR, ["o1"])
    admission = story.admit()
    assert story.judged("S3").witness == (learned, admission)


def test_after_a_reboot_the_grace_is_over() -> None:
    story = Story()
    story.start(SIDECAR, boot="boot-1")
    story.learn(SIDECAR, "o1", "SOFT", grace_ns=GRACE_NS)
    story.keep(SIDECAR, "o1")
    story.crash(SIDECAR, power=True)
    story.start(SIDECAR, boot="boot-2", instance="b")
    story.admit("inflight", clock_ns=1, sink=LEDGER)
    assert story.judged("S3").verdict is Verdict.INVALID


@pytest.mark.parametrize(
    ("told", "verdict"),
    [
        (("start", "defer"), Verdict.VALID),  # nothing runs yet
        (("start", "lease", "crash", "start", "defer"), Verdict.VALID),
        (("start", "defer", "lease"), Verdict.VALID),
        (("start", "lease", "defer"), Verdict.INVALID),
        (("start", "crash", "start", "lease", "defer"), Verdict.INVALID),
    ],
)
def test_whoever_had_a_lease_since_his_boot_puts_off_no_order(told: tuple[str, ...], verdict: Verdict) -> None:
    story = Story()
    for what in told:
        match what:
            case "start":
                story.start(SIDECAR)
            case "crash":
                story.crash(SIDECAR)
            case "lease":
                story.say("lease-opened", SIDECAR, agent=AGENT, nonce="n1", token=[1, 1, "a"], until_ns=story.at_ns + SECOND)
            case "defer":
                story.say("order-deferred", SIDECAR, agent=AGENT, order="o1")
    story.learn(SIDECAR, "o1")
    assert story.judged("S3").verdict is verdict
