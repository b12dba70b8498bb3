"""S10 and S12 on hand-made histories."""

from __future__ import annotations

import pytest
from msgspec import structs

from harness.checkers.bounds import Bounds
from harness.verdict import Verdict
from tests.unit.histories import AGENT, FIRST, LEDGER, PARAMETERS, SECOND, SECOND_START, SIDECAR, Story

NODE = f"agent/{AGENT}"


# -- S10


def test_an_effect_leaves_after_its_intent_is_durable() -> None:
    story = Story()
    story.intend("k1")
    story.admit(key="k1")
    assert (story.judged("S10").verdict, story.judged("S10").examined) == (Verdict.VALID, 1)


@pytest.mark.parametrize("appended", [True, False])
def test_an_effect_whose_intent_is_not_durable_is_a_violation(appended: bool) -> None:
    story = Story()
    if appended:
        story.intend("k1", durable=False)
    admission = story.admit(key="k1")
    story.intend("k1")
    assert story.judged("S10").witness == (admission,)


@pytest.mark.parametrize(
    ("settled", "verdict"),
    [
        ("", Verdict.INVALID),
        ("a restart", Verdict.INVALID),
        ("of another task", Verdict.INVALID),
        ("task-absent", Verdict.VALID),
        ("task-result", Verdict.VALID),
        ("task-rolled-back", Verdict.VALID),
        ("a liar", Verdict.VALID),
    ],
)
def test_what_is_in_doubt_is_not_gone_on_with_before_its_sink_has_told(settled: str, verdict: Verdict) -> None:
    story = Story()
    if settled == "a liar":
        story.fault("lie", NODE)
    story.intend("k1")
    doubted = story.work("task-in-doubt", key="k1")
    match settled:
        case "a restart":
            story.crash(NODE)
        case "task-absent":
            story.work("task-absent", key="k1")
        case "of another task":
            story.work("task-absent", "t2", key="k9")
        case "task-result":
            story.work("task-result", step=1, key="k1", status="APPLIED")
        case "task-rolled-back":
            story.work("task-rolled-back")
    again = story.intend("k1", durable=False)
    finding = story.judged("S10")
    assert finding.verdict is verdict
    assert verdict is Verdict.VALID or finding.witness == (doubted, again)


def test_upstream_is_told_what_is_durably_done() -> None:
    story = Story()
    story.work("task-done")
    early = Story()
    early.facts = list(story.facts)
    told = early.work("task-acknowledged")
    assert early.judged("S10").witness == (told,)
    story.work("task-done-durable")
    story.work("task-acknowledged")
    assert story.judged("S10").verdict is Verdict.VALID


def stepped(last: int, cleanup: str = "compensate") -> tuple[Story, int]:
    """A task of three steps, of which those up to ``last`` took place, under a soft order."""
    story = Story()
    story.learn(SIDECAR, "o1", "SOFT", cleanup=cleanup)
    story.work("task-submitted", steps=3, sink=LEDGER, undo=False)
    return story, [story.work("task-result", step=step, key=f"k{step}", status="APPLIED") for step in range(last + 1)][-1]


@pytest.mark.parametrize(("cleanup", "verdict"), [("compensate", Verdict.VALID), ("none", Verdict.INVALID)])
def test_what_is_in_the_middle_may_be_undone_where_an_order_asks_for_it(cleanup: str, verdict: Verdict) -> None:
    story, _ = stepped(1, cleanup)
    story.work("task-undoing")
    assert (story.judged("S10").verdict, story.judged("S10").examined) == (verdict, 1)


@pytest.mark.parametrize("forgetful", ["", LEDGER])
def test_what_had_its_last_result_is_not_undone_whatever_a_crash_took(forgetful: str) -> None:
    story, result = stepped(2)
    if forgetful:
        story.fault("disk-lie", forgetful)
    story.crash(NODE, power=True)
    undoing = story.work("task-undoing")
    finding = story.judged("S10")
    assert (finding.verdict, finding.witness) == ((Verdict.VALID, ()) if forgetful else (Verdict.INVALID, (result, undoing)))


def test_a_task_ends_once() -> None:
    undone, redone, resumed = Story(), Story(), Story()
    done = undone.work("task-done-durable")
    back = undone.work("task-rolled-back")
    assert undone.judged("S10").witness == (done, back)
    back = redone.work("task-rolled-back")
    done = redone.work("task-done-durable")
    assert redone.judged("S10").witness == (back, done)
    resumed.work("task-rolled-back")
    resumed.intend("k1")
    resumed.work("task-done-durable")
    assert resumed.judged("S10").verdict is Verdict.VALID


def stop(story: Story) -> int:
    story.reap()
    return story.prove("o1", "STOPPED_CLEAN")


def test_a_clean_stop_leaves_nothing_open_and_a_checkpoint() -> None:
    story = Story()
    story.spawn()
    story.intend("k1")
    story.work("task-result", step=1, key="k1", status="APPLIED")
    story.save()
    stop(story)
    assert story.judged("S10").verdict is Verdict.VALID


def test_a_clean_stop_with_an_open_intent_is_a_violation() -> None:
    story = Story()
    story.spawn()
    story.intend("k1")
    story.save()
    proof = stop(story)
    assert story.judged("S10").witness == (3, proof)


def test_a_clean_stop_without_a_last_checkpoint_is_a_violation() -> None:
    story = Story()
    story.spawn()
    story.save()
    story.intend("k1")
    story.work("task-result", step=1, key="k1", status="APPLIED")
    proof = stop(story)
    assert story.judged("S10").witness == (4, proof)


def test_a_crash_takes_intents_that_were_not_durable() -> None:
    story = Story()
    story.spawn()
    story.intend("k1", durable=False)
    story.crash(NODE)
    story.save()
    stop(story)
    assert story.judged("S10").verdict is Verdict.VALID


def test_a_token_under_which_nothing_ran_leaves_nothing_open() -> None:
    story = Story()
    story.intend("k1")
    story.prove("o1", "STOPPED_CLEAN")
    assert story.judged("S10").verdict is Verdict.VALID


def test_of_two_hosts_each_answers_for_what_it_let_out_itself() -> None:
    def rolled_back(by: str) -> Verdict:
        story = Story()
        story.intend()
        story.say("node-cloned", SIDECAR, copy=f"{SIDECAR}~2", records=1)
        story.admit()
        story.facts[-1] = structs.replace(story.facts[-1], node=by)
        story.apply()
        story.work("task-rolled-back")
        return story.judged("S10").verdict

    assert rolled_back(f"{SIDECAR}~2") is Verdict.VALID
    assert rolled_back(SIDECAR) is Verdict.INVALID


@pytest.mark.parametrize(
    ("undone", "verdict"),
    [
        ("by itself", Verdict.VALID),
        ("by the twin, and answered again", Verdict.VALID),
        ("by the twin, before it was meant here", Verdict.VALID),
        ("by the twin, after it was meant here", Verdict.VALID),
        ("by the twin, at a sink without keys", Verdict.INVALID),
        ("by nobody", Verdict.INVALID),
    ],
)
def test_what_either_of_two_hosts_undid_is_undone(undone: str, verdict: Verdict) -> None:
    story = Story(sinks={LEDGER: "U" if "without keys" in undone else "F"})
    story.intend()
    story.admit()
    story.apply()
    story.say("node-cloned", SIDECAR, copy=f"{SIDECAR}~2", records=1)
    if "after it was meant" in undone:
        story.intend("undo/k1")
    if "twin" in undone:
        begun = len(story.facts)
        story.intend("undo/k1")
        story.admit(key="undo/k1", cls="undo", token=SECOND_START)
        story.facts[begun:] = [structs.replace(fact, node=f"{fact.node}~2") for fact in story.facts[begun:]]
        story.apply(key="undo/k1", token=SECOND_START, cls="undo")
    if "after it was meant" not in undone:
        story.intend("undo/k1")
    if undone == "by itself" or "again" in undone:
        story.apply(key="undo/k1", cls="undo", again="again" in undone)
    story.work("task-compensated")
    assert story.judged("S10").verdict is verdict


@pytest.mark.parametrize(("later_ns", "nonce", "verdict"), [(0, "a", Verdict.VALID), (1, "b", Verdict.VALID), (1, "a", Verdict.INVALID)])
def test_each_question_about_an_effect_has_a_nonce_of_its_own(later_ns: int, nonce: str, verdict: Verdict) -> None:
    story = Story()
    question = {"agent": AGENT, "sink": LEDGER, "key": "k1"}
    first = story.say("question-asked", SIDECAR, clock_ns=0, **question, nonce="a")
    second = story.at(later_ns).say("question-asked", SIDECAR, clock_ns=0, **question, nonce=nonce)
    finding = story.judged("S10")
    assert finding.verdict is verdict, finding.why
    assert verdict is Verdict.VALID or finding.witness == (first, second)


CLEANED_NS = Bounds.of(PARAMETERS).cleanup_ns


def going_on(
    after_ns: int = CLEANED_NS + 1, *, cleanup: str = "compensate", undo: bool = True, step: int = 1, key: str = "k2", excuse: str = ""
) -> Story:
    """An agent that was asked to stop intends a step so long after its sidecar learned of a stop that wants it undone, beside one that does not."""
    story = Story()
    story.start_all()
    story.spawn()
    story.work("task-submitted", steps=3, sink=LEDGER, undo=undo)
    story.learn(SIDECAR, "o1", "SOFT", grace_ns=60 * SECOND)
    if excuse != "nobody asked it":
        story.say("process-termed", SIDECAR, agent=AGENT, token=FIRST)
    story.learn(SIDECAR, "o2", "SOFT", grace_ns=60 * SECOND, cleanup=cleanup)
    if excuse == "lifted":
        story.certify(SIDECAR, "c1", "o2")
    elif excuse in ("ignore-stop", "partition"):
        story.fault(excuse, NODE if excuse == "ignore-stop" else SIDECAR)
    elif excuse == "started anew":
        story.spawn(SECOND_START)
    story.at(after_ns).work("task-intent", step=step, key=key)
    return story


@pytest.mark.parametrize(("after_ns", "verdict"), [(CLEANED_NS, Verdict.VALID), (CLEANED_NS + 1, Verdict.INVALID)])
def test_what_an_order_wants_undone_is_not_gone_on_with(after_ns: int, verdict: Verdict) -> None:
    finding = going_on(after_ns).judged("S10")
    assert (finding.verdict, finding.witness) == (verdict, () if verdict is Verdict.VALID else (12, 13))
    assert going_on(after_ns, excuse="partition").judged("S10").verdict is verdict


@pytest.mark.parametrize("excuse", ["nobody asked it", "lifted", "ignore-stop", "started anew"])
def test_who_may_go_on_all_the_same(excuse: str) -> None:
    assert going_on(600 * SECOND, excuse=excuse).judged("S10").verdict is Verdict.VALID


def test_what_may_be_gone_on_with_all_the_same() -> None:
    assert going_on(600 * SECOND, cleanup="none").judged("S10").verdict is Verdict.VALID
    assert going_on(600 * SECOND, undo=False).judged("S10").verdict is Verdict.VALID
    assert going_on(600 * SECOND, step=0).judged("S10").verdict is Verdict.VALID, "nothing of it has taken place"
    assert going_on(600 * SECOND, key="undo/k1").judged("S10").verdict is Verdict.VALID


@pytest.mark.parametrize(("told", "verdict"), [("task-acknowledged", Verdict.INVALID), ("task-returned", Verdict.INVALID), ("", Verdict.VALID)])
def test_nothing_is_begun_of_a_task_of_whose_end_upstream_was_told(told: str, verdict: Verdict) -> None:
    story = Story()
    story.intend("k1")
    ended = story.work("task-rolled-back" if told != "task-acknowledged" else "task-done-durable")
    if told:
        ended = story.work(told)
    story.work("task-handed-over-again", sink=LEDGER)
    begun = story.intend("k1", durable=False)
    finding = story.judged("S10")
    assert (finding.verdict, finding.witness) == (verdict, (ended, begun) if told else ())


def test_what_is_rolled_back_has_left_nothing_behind() -> None:
    before, after, again = Story(), Story(), Story()
    before.intend("k1")
    landed = before.apply(key="k1")
    back = before.work("task-rolled-back")
    assert before.judged("S10").witness == (landed, back)
    after.intend("k1")
    back = after.work("task-rolled-back")
    landed = after.apply(key="k1")
    assert after.judged("S10").witness == (back, landed)
    again.intend("k1")
    again.work("task-rolled-back")
    again.intend("k1")
    again.apply(key="k1")
    assert again.judged("S10").verdict is Verdict.VALID


# -- S12


def recover(story: Story, generation: int, *, lsn: int = 5, intact: bool = True, journal: int = 5) -> int:
    return story.say("checkpoint-recovered", NODE, agent=AGENT, generation=generation, lsn=lsn, intact=intact, journal=journal)


def test_the_last_promised_checkpoint_is_found_again() -> None:
    story = Story()
    story.save(1, lsn=3)
    story.save(2, lsn=5)
    story.say("checkpoint-acknowledged", NODE, agent=AGENT, generation=2)
    recover(story, 2, lsn=5, journal=5)
    assert (story.judged("S12").verdict, story.judged("S12").examined) == (Verdict.VALID, 1)


def test_an_older_one_than_was_acknowledged_is_a_violation() -> None:
    story = Story()
    acknowledged = story.say("checkpoint-acknowledged", NODE, agent=AGENT, generation=2)
    recovered = recover(story, 1)
    assert story.judged("S12").witness == (acknowledged, recovered)


@pytest.mark.parametrize(("journal", "verdict"), [(5, Verdict.INVALID), (4, Verdict.VALID)])
def test_an_older_one_than_was_durable_is_a_violation_if_the_journal_reaches_it(journal: int, verdict: Verdict) -> None:
    story = Story()
    story.save(1, lsn=3)
    story.save(2, lsn=5)
    recover(story, 1, lsn=3, journal=journal)
    assert story.judged("S12").verdict is verdict


def test_torn_or_ahead_of_its_journal_is_a_violation() -> None:
    torn, ahead = Story(), Story()
    recover(torn, 1, intact=False)
    recover(ahead, 1, lsn=6, journal=5)
    assert torn.judged("S12").verdict is Verdict.INVALID
    assert ahead.judged("S12").verdict is Verdict.INVALID


@pytest.mark.parametrize(("generation", "verdict"), [(3, Verdict.VALID), (4, Verdict.INVALID), (5, Verdict.VALID)])
@pytest.mark.parametrize("known", ["recovered", "durable"])
def test_no_checkpoint_is_begun_over_the_only_one_known_to_be_whole(known: str, generation: int, verdict: Verdict) -> None:
    story = Story()
    if known == "recovered":
        whole = story.say("checkpoint-recovered", f"agent/{AGENT}", agent=AGENT, generation=2, lsn=0, journal=1, intact=True)
    else:
        whole = story.save(2)
    begun = story.say("checkpoint-begun", f"agent/{AGENT}", agent=AGENT, generation=generation, lsn=1)
    finding = story.judged("S12")
    assert finding.verdict is verdict, finding.why
    assert verdict is Verdict.VALID or finding.witness == (whole, begun)


@pytest.mark.parametrize(("lsn", "verdict"), [(4, Verdict.VALID), (5, Verdict.INVALID), (3, Verdict.INVALID)])
def test_a_checkpoint_reaches_the_record_at_which_it_was_written(lsn: int, verdict: Verdict) -> None:
    story = Story()
    story.say("checkpoint-begun", NODE, agent=AGENT, generation=1, lsn=4)
    recover(story, 1, lsn=lsn, journal=6)
    assert story.judged("S12").verdict is verdict
