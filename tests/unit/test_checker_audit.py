"""S15 on hand-made histories."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from harness.checkers.bounds import HOST_LAG_NS
from harness.verdict import Verdict
from tests.unit.histories import AGENT, FIRST, SECOND, SECOND_START, SIDECAR, Story


def folded(story: Story, folded_digest: str = "d", *, chain_ok: bool = True) -> int:
    return story.say("log-folded", "replica/1", records=7, live="d", folded=folded_digest, chain_ok=chain_ok)


def test_a_log_folds_to_the_state_it_had() -> None:
    story = Story()
    folded(story)
    assert (story.judged("S15").verdict, story.judged("S15").examined) == (Verdict.VALID, 1)


@pytest.mark.parametrize(("digest", "chain_ok"), [("e", True), ("d", False)])
def test_a_log_that_folds_otherwise_or_is_broken_is_a_violation(digest: str, chain_ok: bool) -> None:
    story = Story()
    fold = folded(story, digest, chain_ok=chain_ok)
    assert story.judged("S15").witness == (fold,)


def recorded(story: Story, gate: str) -> int:
    return story.say("gate-recorded", SIDECAR, agent=AGENT, gate=gate, mode="RUNNING")


def test_every_gate_change_has_its_record_before_or_after_it() -> None:
    story = Story()
    recorded(story, "OPEN")
    story.gate("OPEN")
    story.gate("CLOSED", "STANDBY")
    recorded(story, "CLOSED")
    recorded(story, "OPEN")  # overtaken by an order before it opened anything
    recorded(story, "CLOSED")
    assert (story.judged("S15").verdict, story.judged("S15").examined) == (Verdict.VALID, 2)


def test_a_gate_change_without_a_record_is_a_violation() -> None:
    story = Story()
    story.gate("OPEN")
    recorded(story, "OPEN")
    changed = story.gate("CLOSED", "STANDBY")
    story.gate("OPEN")
    recorded(story, "OPEN")
    assert story.judged("S15").witness == (changed,)


@pytest.mark.parametrize(("unrecorded", "verdict"), [(1, Verdict.VALID), (2, Verdict.INVALID)])
def test_a_crash_may_take_the_record_of_the_last_change(unrecorded: int, verdict: Verdict) -> None:
    story = Story()
    for gate in ("OPEN", "CLOSED")[:unrecorded]:
        story.gate(gate)
    story.crash(SIDECAR)
    assert story.judged("S15").verdict is verdict


@pytest.mark.parametrize(
    ("severity", "proven", "then", "sound"),
    [
        ("SOFT", True, "", True),
        ("SOFT", False, "", False),
        ("ISOLATE", False, "", True),
        ("SOFT", False, "crash", True),
        ("SOFT", False, "later", False),
    ],
)
def test_a_start_that_an_order_overtook_is_proven_over_under_its_own_token(severity: str, proven: bool, then: str, sound: bool) -> None:
    story = Story()
    story.learn(SIDECAR, "o1", severity)
    story.say("evidence-recorded", SIDECAR, agent=AGENT, token=FIRST, order="o1", stage="STOPPED_FORCED")
    opened = story.say("token-opened", SIDECAR, agent=AGENT, token=SECOND_START, predecessor=FIRST)
    if proven:
        story.say("evidence-recorded", SIDECAR, agent=AGENT, token=SECOND_START, order="o1", stage="STOPPED_FORCED")
    if then:
        story.at(story.at_ns + (then == "later")).crash(SIDECAR)
    finding = story.judged("S15")
    assert (finding.verdict, finding.witness) == ((Verdict.VALID, ()) if sound else (Verdict.INVALID, (opened,)))


def test_a_failed_disk_excuses_missing_records() -> None:
    story = Story()
    story.say("disk-failed", SIDECAR, lsn=4)
    story.gate("OPEN")
    assert story.judged("S15").verdict is Verdict.VALID


def recorded_stop(story: Story, what: str, token: list[object] | None = None) -> int:
    return story.say("process-recorded", SIDECAR, agent=AGENT, token=token or FIRST, what=what)


def a_recorded_life(story: Story) -> None:
    recorded_stop(story, "START")
    story.spawn()
    story.say("process-termed", SIDECAR, agent=AGENT, token=FIRST)
    recorded_stop(story, "TERM")
    recorded_stop(story, "KILL")
    story.kill()
    story.kill()
    story.reap()
    recorded_stop(story, "REAPED")


def test_a_process_has_one_record_of_each_thing_that_befell_it() -> None:
    story = Story()
    a_recorded_life(story)
    assert (story.judged("S15").verdict, story.judged("S15").examined) == (Verdict.VALID, 5)
    twin = recorded_stop(story, "KILL")
    assert twin in story.judged("S15").witness


def test_a_stop_or_a_start_without_its_record_is_a_violation() -> None:
    unstarted, unrecorded = Story(), Story()
    started = unstarted.spawn()
    recorded_stop(unstarted, "START")
    assert unstarted.judged("S15").witness == (started,)
    recorded_stop(unrecorded, "START")
    unrecorded.spawn()
    killed = unrecorded.kill()
    assert unrecorded.judged("S15").witness == (killed,)


@pytest.mark.parametrize(("later_ns", "verdict"), [(0, Verdict.VALID), (1, Verdict.INVALID)])
def test_a_crash_in_the_step_of_a_stop_takes_its_record(later_ns: int, verdict: Verdict) -> None:
    story = Story()
    recorded_stop(story, "START")
    story.spawn()
    story.say("process-termed", SIDECAR, agent=AGENT, token=FIRST)
    story.at(later_ns).crash(SIDECAR)
    assert story.judged("S15").verdict is verdict


def test_a_boot_may_end_what_an_earlier_sidecar_left() -> None:
    story = Story()
    story.start(SIDECAR)
    story.kill()
    story.reap()
    recorded_stop(story, "REAPED")
    assert story.judged("S15").verdict is Verdict.VALID


def test_a_proof_that_leaves_is_on_record_once() -> None:
    silent, told = Story(), Story()
    sent = silent.prove("o1", "GATE_CLOSED")
    assert silent.judged("S15").witness == (sent,)
    first = told.say("evidence-recorded", SIDECAR, agent=AGENT, token=FIRST, order="o1", stage="GATE_CLOSED")
    told.prove("o1", "GATE_CLOSED")
    assert told.judged("S15").verdict is Verdict.VALID
    twin = told.say("evidence-recorded", SIDECAR, agent=AGENT, token=FIRST, order="o1", stage="GATE_CLOSED")
    assert told.judged("S15").witness == (first, twin)


def permits(story: Story, *keys: str, count: int | None = None) -> int:
    root = bytes(32)
    for key in keys:
        root = sha256(root + key.encode()).digest()
    return story.say("permits-recorded", SIDECAR, agent=AGENT, token=FIRST, count=len(keys) if count is None else count, root=root.hex())


def test_admissions_share_records_that_count_each_of_them() -> None:
    story = Story()
    for key in ("k1", "k2"):
        story.admit(key=key)
    permits(story, "k1", "k2")
    story.admit(key="k3")
    permits(story, "k3")
    assert (story.judged("S15").verdict, story.judged("S15").examined) == (Verdict.VALID, 2)


@pytest.mark.parametrize(("keys", "count"), [(("k1",), None), (("k1", "k3"), None), (("k1", "k2"), 3), (("k2", "k1"), None)])
def test_a_record_of_other_admissions_is_a_violation(keys: tuple[str, ...], count: int | None) -> None:
    story = Story()
    for key in ("k1", "k2"):
        story.admit(key=key)
    assert story.judged("S15").verdict is Verdict.VALID, "the record may still come"
    wrong = permits(story, *keys, count=count)
    assert story.judged("S15").witness == (wrong,)


@pytest.mark.parametrize(("admissions", "verdict"), [(64, Verdict.VALID), (65, Verdict.INVALID)])
def test_no_more_than_64_admissions_go_without_a_record(admissions: int, verdict: Verdict) -> None:
    story = Story()
    for number in range(admissions):
        story.admit(key=f"k{number}")
    assert story.judged("S15").verdict is verdict


def test_a_ruling_that_is_told_is_on_record_once_at_each_replica() -> None:
    story = Story()
    ruled = story.decide("replica/1", request="r1")
    story.decide("replica/2", request="r1")
    story.say("order-status", "operator", request="r1", order="o1", stage="ACCEPTED", copies=1, keys=0)
    assert story.judged("S15").verdict is Verdict.VALID
    twin = story.decide("replica/1", request="r1")
    assert story.judged("S15").witness == (ruled, twin)
    unruled = Story()
    told = unruled.say("order-status", "operator", request="r1", order="", stage="REFUSED", copies=0, keys=0)
    assert unruled.judged("S15").witness == (told,)


ISOLATED, IN_FULL = [True, 2, 0, 0, 2], [True, 2, 1, SECOND, 1]


@pytest.mark.parametrize(
    ("first", "second", "verdict"),
    [
        ({"ruling": ISOLATED}, {"ruling": IN_FULL, "seq": 2, "policy": "q"}, Verdict.VALID),
        ({"ruling": ISOLATED}, {"ruling": ISOLATED, "seq": 2, "policy": "q"}, Verdict.VALID),
        ({"ruling": ISOLATED}, {"ruling": ISOLATED, "seq": 2, "canary": "q"}, Verdict.VALID),
        ({"ruling": ISOLATED}, {"ruling": IN_FULL, "asking": 2, "askers": ["alice", "bob"]}, Verdict.VALID),
        ({"ruling": ISOLATED}, {"ruling": ISOLATED}, Verdict.INVALID),
        ({"ruling": IN_FULL}, {"ruling": IN_FULL, "seq": 2, "policy": "q"}, Verdict.INVALID),
        ({"ruling": IN_FULL}, {"ruling": ISOLATED, "seq": 2, "policy": "q"}, Verdict.INVALID),
    ],
)
def test_a_request_is_ruled_on_anew_under_another_policy_as_long_as_not_all_of_it_was_ordered(
    first: dict[str, Any], second: dict[str, Any], verdict: Verdict
) -> None:
    story = Story()
    ruled, again = (story.decide("replica/1", requested=[2, 1], **ruling) for ruling in (first, second))
    finding = story.judged("S15")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (ruled, again)


@pytest.mark.parametrize(
    ("requested", "other", "verdict"),
    [
        ([1, 1, SECOND], {}, Verdict.VALID),
        ([2, 1, 9 * SECOND], {}, Verdict.VALID),
        ([1, 2, 9 * SECOND], {}, Verdict.VALID),
        ([1, 1, 9 * SECOND], {"scope": ("tenant", "acme")}, Verdict.VALID),
        ([1, 1, 9 * SECOND], {"reason": "other"}, Verdict.VALID),
        ([1, 1, 9 * SECOND], {"cleanup": "compensate"}, Verdict.VALID),
        ([1, 1, 9 * SECOND], {}, Verdict.INVALID),
    ],
)
def test_who_asks_again_for_anything_else_is_ruled_on_again(requested: list[int], other: dict[str, Any], verdict: Verdict) -> None:
    story = Story()
    story.learn("replica/1", "o1", "SOFT")
    story.decide("replica/1", order="o1", requested=[1, 1, 9 * SECOND])
    story.learn("replica/1", "o2", "SOFT", **other)
    story.decide("replica/1", order="o2", requested=requested)
    assert story.judged("S15").verdict is verdict


# -- leases, and what is taken in

UNTIL_NS = 8 * SECOND


def put_down(story: Story, what: str = "OPENED", token: list[Any] | None = None) -> int:
    return story.say("lease-recorded", SIDECAR, agent=AGENT, token=token or FIRST, what=what)


def leased(story: Story, until_ns: int = UNTIL_NS, *, recorded: bool = True) -> int:
    if recorded:
        put_down(story)
    return story.say("lease-opened", SIDECAR, agent=AGENT, nonce="n1", token=FIRST, until_ns=until_ns)


def folded_by_sidecar(story: Story, clock_ns: int) -> None:
    story.say("log-folded", SIDECAR, clock_ns=clock_ns, records=7, live="d", folded="d", chain_ok=True)


@pytest.mark.parametrize(("clock_ns", "verdict"), [(UNTIL_NS + HOST_LAG_NS, Verdict.VALID), (UNTIL_NS + HOST_LAG_NS + 1, Verdict.INVALID)])
@pytest.mark.parametrize("told_by", ["the end", "the next lease", "its record"])
def test_a_lease_that_ran_out_is_on_record_as_lost(told_by: str, clock_ns: int, verdict: Verdict) -> None:
    story = Story()
    story.start_all()
    opened = leased(story)
    if told_by == "the end":
        folded_by_sidecar(story.at(60 * SECOND), clock_ns)
    elif told_by == "its record":
        story.at(60 * SECOND).say("lease-recorded", SIDECAR, clock_ns=clock_ns, agent=AGENT, token=FIRST, what="LOST")
    else:
        story.at(60 * SECOND).say("lease-opened", SIDECAR, clock_ns=clock_ns, agent=AGENT, nonce="n2", token=FIRST, until_ns=clock_ns + SECOND)
    finding = story.judged("S15")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (opened,)


def test_of_leases_that_are_over_as_they_open_the_last_counts() -> None:
    story = Story()
    story.start_all()
    story.at(60 * SECOND)
    leased(story)
    leased(story, UNTIL_NS + SECOND, recorded=False)
    put_down(story, "LOST")
    folded_by_sidecar(story, 600 * SECOND)
    assert story.judged("S15").verdict is Verdict.VALID


@pytest.mark.parametrize(
    ("excuse", "verdict"),
    [
        ("on record", Verdict.VALID),
        ("on record and said", Verdict.VALID),
        ("said", Verdict.INVALID),
        ("renewed", Verdict.VALID),
        ("paused", Verdict.VALID),
        ("crashed", Verdict.VALID),
        ("clock", Verdict.VALID),
    ],
)
def test_a_lease_is_lost_once_and_only_by_who_could_notice(excuse: str, verdict: Verdict) -> None:
    story = Story()
    story.start_all()
    leased(story)
    match excuse:
        case "on record" | "said" | "on record and said":
            if excuse != "said":
                put_down(story.at(UNTIL_NS), "LOST")
            if excuse != "on record":
                story.say("lease-lost", SIDECAR, agent=AGENT, token=FIRST)
        case "renewed":
            leased(story, 600 * SECOND, recorded=False)
        case "paused":
            story.say("node-paused", SIDECAR)
            story.say("node-resumed", SIDECAR)
        case "crashed":
            story.crash(SIDECAR)
            story.start(SIDECAR, boot="boot-2")
        case "clock":
            story.fault("clock-step", SIDECAR)
    folded_by_sidecar(story.at(60 * SECOND), 60 * SECOND)
    assert story.judged("S15").verdict is verdict


@pytest.mark.parametrize(
    ("recorded", "verdict"),
    [
        (["OPENED"], Verdict.VALID),
        ([], Verdict.INVALID),
        (["OPENED", "LOST"], Verdict.INVALID),
        (["OPENED", "LOST", "OPENED"], Verdict.VALID),
        (["OPENED of another token"], Verdict.INVALID),
        (["OPENED", "a start"], Verdict.INVALID),
    ],
)
def test_nothing_goes_by_a_lease_that_is_not_on_record_as_opened(recorded: list[str], verdict: Verdict) -> None:
    story = Story()
    story.start_all()
    for what in recorded:
        if what == "a start":
            story.crash(SIDECAR)
            story.start(SIDECAR, boot="boot-2")
        else:
            put_down(story, what.partition(" ")[0], SECOND_START if " " in what else None)
    opened = leased(story, recorded=False)
    finding = story.judged("S15")
    assert (finding.verdict, finding.examined) == (verdict, 1)
    assert verdict is Verdict.VALID or finding.witness == (opened,)


@pytest.mark.parametrize(
    ("at_ns", "token", "verdict"),
    [(UNTIL_NS - 1, FIRST, Verdict.INVALID), (UNTIL_NS, FIRST, Verdict.VALID), (UNTIL_NS - 1, SECOND_START, Verdict.VALID)],
)
def test_a_lease_that_is_renewed_opens_once(at_ns: int, token: list[Any], verdict: Verdict) -> None:
    story = Story()
    story.start_all()
    leased(story)
    first = len(story.facts) - 2
    again = put_down(story.at(at_ns), token=token)
    finding = story.judged("S15")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (first, again)


def take_in(story: Story, what: str, node: str) -> int:
    match what:
        case "order":
            return story.learn(node, "o1")
        case "certificate":
            return story.certify(node, "c1", "o1") - 1
        case "keyset":
            return story.say("keyset-installed", node, version=2, authentic=True, revoked=[], rotated=[])
    return story.say("fork-proven", node, origin="replica/3", first=3, second=3)


@pytest.mark.parametrize(("then", "verdict"), [("again", Verdict.INVALID), ("another", Verdict.VALID), ("after a crash", Verdict.VALID)])
@pytest.mark.parametrize("what", ["order", "certificate", "keyset", "fork"])
def test_what_is_taken_in_is_put_on_record_once(what: str, then: str, verdict: Verdict) -> None:
    story = Story()
    story.start_all()
    first = take_in(story, what, SIDECAR)
    if then == "after a crash":
        story.crash(SIDECAR, power=True)
        story.start(SIDECAR, boot="boot-2")
    second = take_in(story, what, "replica/1" if then == "another" else SIDECAR)
    finding = story.judged("S15")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (first, second)


@pytest.mark.parametrize(("later_ns", "node", "verdict"), [
    (0, SIDECAR, Verdict.INVALID), (1, SIDECAR, Verdict.VALID), (0, "replica/1", Verdict.VALID),
])  # fmt: skip
def test_of_an_attempt_to_read_an_order_one_end_is_on_record(later_ns: int, node: str, verdict: Verdict) -> None:
    story = Story()
    story.start_all()
    story.say("order-deferred", SIDECAR, agent=AGENT, order="o1")
    over = story.say("attempt-over", SIDECAR, agent=AGENT, order="o1")
    learned = story.at(later_ns).learn(node, "o1")
    finding = story.judged("S15")
    assert (finding.verdict, finding.witness) == (verdict, () if verdict is Verdict.VALID else (over, learned))
