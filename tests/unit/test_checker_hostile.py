"""S22 and S26 on histories made by hand: good ones, bad ones, and ones on the very edge."""

from __future__ import annotations

import pytest

from harness.verdict import Verdict
from tests.unit.histories import AGENT, FIRST, SECOND, SIDECAR, Story


def arrived(severity: str = "HARD", how: str = "unknown major version 2") -> tuple[Story, int]:
    story = Story()
    story.start_all()
    story.spawn()
    story.effective("o1", severity, grace_ns=5 * SECOND)
    return story, story.say("prohibition-arrived", SIDECAR, order="o1", sender="replica/1", how=how)


@pytest.mark.parametrize(
    ("severity", "how", "cls", "verdict"),
    [
        ("HARD", "unknown major version 2", "inflight", Verdict.INVALID),
        ("HARD", "under a new key", "inflight", Verdict.INVALID),
        ("SOFT", "unknown major version 2", "inflight", Verdict.INVALID),  # whose grace nobody could read
        ("SOFT", "under a new key", "inflight", Verdict.VALID),
        ("SOFT", "under a new key", "new", Verdict.INVALID),
    ],
)
def test_s22_what_arrived_is_obeyed_by_its_newest_reading(severity: str, how: str, cls: str, verdict: Verdict) -> None:
    story, arrival = arrived(severity, how)
    admission = story.admit(cls=cls)
    finding = story.judged("S22")
    assert (finding.verdict, finding.examined) == (verdict, 1)
    assert verdict is Verdict.VALID or finding.witness == (arrival, admission)


@pytest.mark.parametrize(
    ("severity", "how", "gate", "verdict"),
    [
        ("SOFT", "unknown major version 2", "DRAIN", Verdict.INVALID),
        ("SOFT", "under a new key", "DRAIN", Verdict.VALID),
        ("SOFT", "under a new key", "OPEN", Verdict.INVALID),
        ("HARD", "unknown major version 2", "CLOSED", Verdict.VALID),
    ],
)
def test_s22_no_gate_opens_to_what_arrived(severity: str, how: str, gate: str, verdict: Verdict) -> None:
    story, arrival = arrived(severity, how)
    opened = story.gate(gate)
    finding = story.judged("S22")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (arrival, opened)


@pytest.mark.parametrize("meanwhile", ["", "learned", "put off", "died", "elsewhere", "lifted"])
def test_s22_a_replica_grants_nothing_against_what_it_was_handed_under_a_key_that_it_lacks(meanwhile: str) -> None:
    story = Story()
    story.start_all()
    story.effective("o1")
    handed = story.say("order-handed-on", "replica/3", order="o1", sender="replica/1", how="under a new key")
    if meanwhile == "learned":
        story.learn("replica/3", "o1")
    elif meanwhile == "put off":
        story.say("order-deferred", "replica/3", agent="", order="o1")
    elif meanwhile == "died":
        story.crash("replica/3")
    elif meanwhile == "lifted":
        story.certify("replica/1", "c1", "o1")
    granted = story.grant("replica/2" if meanwhile == "elsewhere" else "replica/3")
    finding = story.judged("S22")
    assert (finding.verdict, finding.examined) == (Verdict.VALID if meanwhile else Verdict.INVALID, 1)
    assert finding.witness == (() if meanwhile else (handed, granted))


def test_s22_is_silent_without_an_admission_and_before_the_arrival() -> None:
    story = Story()
    story.start_all()
    story.effective("o1")
    story.admit()
    story.say("prohibition-arrived", SIDECAR, order="o1", sender="replica/1", how="unknown major version 2")
    assert story.judged("S22").verdict is Verdict.VALID


@pytest.mark.parametrize(("late_ns", "reason", "verdict"), [(0, "o1", Verdict.VALID), (0, "o2", Verdict.INVALID), (1, "o1", Verdict.INVALID)])
def test_s22_what_nobody_outlived_reading_is_enforced_at_once(late_ns: int, reason: str, verdict: Verdict) -> None:
    story = Story()
    story.start_all()
    story.effective("o1")
    story.at(SECOND).say("order-quarantined", SIDECAR, order="o1")
    story.at(SECOND + late_ns).say("floor-held", SIDECAR, agent=AGENT, reason=reason, gate="CLOSED", life="ALIVE", all=["CLOSED", "ALIVE"])
    assert story.at(2 * SECOND).end().judged("S22").verdict is verdict


@pytest.mark.parametrize("lifts", ["o1", "another"])
def test_s22_what_nobody_could_read_is_released_by_a_certificate_that_may_speak_of_it(lifts: str) -> None:
    story = Story()
    story.start_all()
    story.effective("o1")
    quarantined = story.say("order-quarantined", SIDECAR, order="o1")
    story.certify(SIDECAR, "c1", lifts)
    dropped = story.say("floor-dropped", SIDECAR, agent=AGENT, reason="o1")
    finding = story.judged("S22")
    assert finding.verdict is (Verdict.VALID if lifts == "o1" else Verdict.INVALID)
    assert lifts == "o1" or finding.witness == (quarantined, dropped)


@pytest.mark.parametrize(
    ("how", "by", "end", "sound"),
    [
        ("unknown major version 2", "replica/1", "", False),
        ("unknown major version 2", "replica/1", "learned", True),
        ("unknown major version 2", "replica/1", "lifted", True),
        ("unknown major version 2", "replica/1", "started", True),
        ("unknown major version 2", "replica/2", "", True),  # there it is not yet over
        ("unknown major version 2", "replica/3", "", True),  # which knows of no such order, or no more
        ("under a new key", "replica/1", "", True),
    ],
)
def test_s22_nobody_has_said_all_who_said_what_is_not_read_yet(how: str, by: str, end: str, sound: bool) -> None:
    story = Story()
    story.start_all()
    story.effective("o1")
    arrival = story.say("prohibition-arrived", SIDECAR, order="o1", sender="replica/3" if by == "replica/3" else "replica/1", how=how)
    if end == "learned":
        story.learn(SIDECAR, "o1")
    elif end == "lifted":
        story.certify("replica/1", "c1", "o1")
    elif end:
        story.start(SIDECAR, boot="boot-2")
    dropped = story.say("floor-dropped", SIDECAR, agent=AGENT, reason=f"unread, of {by}")
    finding = story.judged("S22")
    assert (finding.verdict, finding.witness) == ((Verdict.VALID, ()) if sound else (Verdict.INVALID, (arrival, dropped)))


@pytest.mark.parametrize("end", ["learned", "lifted", "crashed", "forgotten"])
def test_s22_ends_where_others_judge(end: str) -> None:
    story, _ = arrived()
    if end == "learned":
        story.learn(SIDECAR, "o1")
    elif end == "lifted":
        story.certify("replica/1", "c1", "o1")
    elif end == "crashed":
        story.crash(SIDECAR)
    else:
        story = Story()
        story.start_all()
        story.learn("replica/1", "o1")
        story.say("prohibition-arrived", SIDECAR, order="o1", sender="replica/1", how="unknown major version 2")
        story.crash("replica/1")  # and it was not durable anywhere
    story.admit()
    assert story.judged("S22").verdict is Verdict.VALID


def test_s22_an_order_for_others_is_no_instance() -> None:
    story = Story()
    story.say("prohibition-arrived", SIDECAR, order="never learned", sender="replica/1", how="unknown major version 2")
    story.admit()
    assert (story.judged("S22").verdict, story.judged("S22").examined) == (Verdict.VALID, 0)


def test_s26_a_hostile_signal_that_raises() -> None:
    story = Story()
    hostile = story.say("hostile-input", SIDECAR, sender="operator", what="too deep", read=True)
    raised = story.say("step-raised", SIDECAR, error="RecursionError")
    finding = story.judged("S26")
    assert (finding.verdict, finding.witness, finding.examined) == (Verdict.INVALID, (hostile, raised), 1)


def test_s26_does_not_answer_for_what_others_raise_or_for_what_comes_later() -> None:
    story = Story()
    story.say("hostile-input", SIDECAR, sender="operator", what="too deep", read=True)
    story.say("step-raised", "replica/1", error="KeyError")
    story.at(1).say("step-raised", SIDECAR, error="KeyError")
    assert story.judged("S26").verdict is Verdict.VALID


@pytest.mark.parametrize(("deaths", "verdict"), [(3, Verdict.VALID), (4, Verdict.INVALID)])
def test_s26_an_order_kills_its_reader_three_times_at_the_most(deaths: int, verdict: Verdict) -> None:
    story = Story()
    died = [story.say("input-poisoned", SIDECAR, order="o1") for _ in range(deaths)]
    story.say("input-poisoned", SIDECAR, order="o2")
    finding = story.judged("S26")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == tuple(died)


def floor(story: Story, gate: str, life: str, reason: str = "unread, of replica/1", together: tuple[str, str] | None = None) -> int:
    return story.say("floor-held", SIDECAR, agent="acme/1", reason=reason, gate=gate, life=life, all=list(together or (gate, life)))


@pytest.mark.parametrize(
    ("life", "dropped", "verdict"), [("KILL", False, Verdict.VALID), ("STOP", False, Verdict.INVALID), ("STOP", True, Verdict.VALID)]
)
def test_s22_what_is_enforced_unread_does_not_shrink_before_it_is_over(life: str, dropped: bool, verdict: Verdict) -> None:
    story = Story()
    story.start_all()
    first = floor(story, "CLOSED", "KILL")
    if dropped:
        story.say("floor-dropped", SIDECAR, agent="acme/1", reason="unread, of replica/1")
    second = floor(story, "CLOSED", life)
    finding = story.judged("S22")
    assert (finding.verdict, finding.examined) == (verdict, 2)
    assert verdict is Verdict.VALID or finding.witness == (first, second)


@pytest.mark.parametrize(
    ("gate", "life", "how", "verdict"),
    [
        ("CLOSED", "KILL", "unknown major version 2", Verdict.VALID),
        ("CLOSED", "ALIVE", "unknown major version 2", Verdict.INVALID),
        ("DRAIN", "KILL", "unknown major version 2", Verdict.INVALID),
        ("CLOSED", "ALIVE", "under a new key", Verdict.VALID),  # whose body is obeyed, and then S3 judges
    ],
)
def test_s22_what_cannot_be_read_is_enforced_as_its_header_says(gate: str, life: str, how: str, verdict: Verdict) -> None:
    story, arrival = arrived("HARD", how)
    held = floor(story, gate, life)
    finding = story.judged("S22")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (arrival, held)


@pytest.mark.parametrize(("together", "verdict"), [(("CLOSED", "STOP"), Verdict.VALID), (("CLOSED", "ALIVE"), Verdict.INVALID)])
def test_s22_all_reasons_together_are_no_less_than_each(together: tuple[str, str], verdict: Verdict) -> None:
    story = Story()
    story.start_all()
    first = floor(story, "CLOSED", "STOP")
    second = floor(story, "CLOSED", "ALIVE", "unread, of replica/2", together)
    finding = story.judged("S22")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (first, second)


def test_s22_a_new_start_has_no_floor_to_keep() -> None:
    story = Story()
    story.start_all()
    floor(story, "CLOSED", "KILL")
    story.crash(SIDECAR)
    story.start(SIDECAR, instance="b")
    floor(story, "CLOSED", "ALIVE")
    assert story.judged("S22").verdict is Verdict.VALID


@pytest.mark.parametrize(("how", "after_s", "verdict"), [("unknown major version 2", 2, Verdict.VALID), ("under a new key", 9, Verdict.INVALID)])
def test_l2_a_kill_that_could_not_be_read_or_verified_is_carried_out(how: str, after_s: int, verdict: Verdict) -> None:
    story, arrival = arrived("HARD", how)
    story.at(after_s * SECOND)
    reaped = story.reap()
    finding = story.judged("L2")
    assert (finding.verdict, finding.examined) == (verdict, 1)
    assert verdict is Verdict.VALID or finding.witness == (arrival, reaped)


@pytest.mark.parametrize(("what", "verdict"), [("order without a signature", Verdict.INVALID), ("order by one who may not", Verdict.VALID)])
def test_s26_no_mark_goes_on_record_of_an_order_that_nobody_signed(what: str, verdict: Verdict) -> None:
    story = Story()
    story.start_all()
    hostile = story.say("hostile-input", SIDECAR, sender="operator", what=what, read=True)
    marked = story.say("order-deferred", SIDECAR, agent=AGENT, order="o1")
    finding = story.judged("S26")
    assert (finding.verdict, finding.witness) == (verdict, () if verdict is Verdict.VALID else (hostile, marked))


# -- S22: a log of its own that a node cannot read


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize(
    ("node", "act", "verdict"),
    [
        (SIDECAR, "admits", Verdict.INVALID),
        (SIDECAR, "opens", Verdict.INVALID),
        (SIDECAR, "drains", Verdict.INVALID),
        (SIDECAR, "closes", Verdict.VALID),
        ("replica/1", "grants", Verdict.INVALID),
        ("replica/1", "denies", Verdict.VALID),
        ("replica/2", "grants", Verdict.VALID),
    ],
)
def test_who_cannot_read_his_own_log_permits_nothing_until_he_starts_anew(node: str, act: str, verdict: Verdict, again: bool) -> None:
    story = Story()
    story.start_all()
    unread = [story.say("log-unread", each, records=1) for each in (SIDECAR, "replica/1")]
    if again:
        story.start_all()
    match act:
        case "admits":
            done = story.admit()
        case "grants":
            done = story.grant(node)
        case "denies":
            done = story.say("lease-denied", node, agent=AGENT, nonce="n1", replica=node, token=FIRST, why="disk")
        case _:
            done = story.gate({"opens": "OPEN", "drains": "DRAIN", "closes": "CLOSED"}[act])
    finding = story.end().judged("S22")
    assert finding.verdict is (Verdict.VALID if again else verdict)
    assert finding.verdict is Verdict.VALID or finding.witness == (unread[node != SIDECAR], done)
    assert finding.examined >= 2
