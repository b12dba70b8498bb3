"""A process that stands still, and goes on: what a pause holds back, and what it does not, tried with a machine that follows a script."""

from __future__ import annotations

from killswitch.core.events import Boot, Durable, Receive, Send, SetTimer, Submit, Timer
from killswitch.core.messages import Task
from sim.node import INBOX_MAX
from tests.sim.stage import ASK, MS, Stage


def test_a_paused_process_takes_its_inputs_in_order_when_it_goes_on() -> None:
    stage = Stage()
    stage.follow(Boot=lambda _: [stage.append(), SetTimer("t", 20 * MS)])
    stage.node.boot_up()
    stage.node.pause("p")
    stage.queue.at(15 * MS, lambda _: stage.node.receive(Receive("x", ASK)))
    stage.queue.at(25 * MS, lambda _: stage.node.receive(Submit(Task("t", "s", 1, 1))))
    stage.play(40 * MS)
    assert len(stage.inputs) == 1
    stage.node.resume("p")
    assert [type(event) for _, event in stage.inputs] == [Boot, Durable, Receive, Timer, Submit]
    assert {at for at, _ in stage.inputs[1:]} == {40 * MS}
    assert [kind for _, kind, _ in stage.facts] == ["node-paused", "node-resumed"]


def test_a_timer_that_was_due_in_a_pause_can_still_be_cancelled_by_what_came_before_it() -> None:
    stage = Stage()
    stage.follow(Boot=[SetTimer("t", 20 * MS)], Receive=[SetTimer("t", None)])
    stage.node.boot_up()
    stage.node.pause("p")
    stage.queue.at(10 * MS, lambda _: stage.node.receive(Receive("x", ASK)))
    stage.play(30 * MS)
    stage.node.resume("p")
    stage.play(100 * MS)
    assert stage.taken(Timer) == []


def test_a_pause_in_the_middle_of_a_step_holds_back_its_effects_and_nothing_else() -> None:
    stage = Stage()
    stage.follow(Boot=lambda _: [], Receive=lambda _: [stage.append(), Send("held", ASK), Send("later", ASK, 1)])
    stage.node.boot_up()
    stage.node.pause_soon("p")
    assert not stage.node.stands_still()
    stage.node.receive(Receive("x", ASK))
    assert stage.node.stands_still()
    assert stage.play(50 * MS) == []
    assert len(stage.taken(Receive)) == 1
    stage.node.resume("p")
    assert stage.sends() == [(50 * MS, "held")]
    stage.play(100 * MS)
    assert stage.sends() == [(50 * MS, "held"), (60 * MS, "later")]


def test_a_pause_in_the_step_that_hears_of_durability_holds_back_what_waited_for_it() -> None:
    stage = Stage()
    stage.follow(Boot=lambda _: [stage.append(), Send("waited", ASK, 1)], Durable=[Send("answer", ASK)])
    stage.node.boot_up()
    stage.queue.at(5 * MS, lambda _: stage.node.pause_soon("p"))
    assert stage.play(50 * MS) == []
    stage.node.resume("p")
    assert stage.sends() == [(50 * MS, "waited"), (50 * MS, "answer")]


def test_a_process_goes_on_when_the_last_of_its_pauses_is_over_and_each_counts_once() -> None:
    stage = Stage()
    stage.node.boot_up()
    stage.node.pause("one")
    stage.node.pause("two")
    stage.node.resume("one")
    stage.node.resume("one")
    assert stage.node.stands_still()
    stage.node.resume("two")
    assert not stage.node.stands_still()
    stage.node.resume("two")
    assert [kind for _, kind, _ in stage.facts] == ["node-paused", "node-resumed"]


def test_a_pause_does_not_outlive_the_process_nor_end_one_that_began_later() -> None:
    stage = Stage()
    stage.node.boot_up()
    stage.node.pause("old")
    stage.node.die(power=False)
    stage.node.pause("of nothing")
    stage.node.boot_up()
    assert not stage.node.stands_still()
    stage.node.pause("new")
    stage.node.resume("old")
    assert stage.node.stands_still()


def test_a_pause_that_is_over_before_its_step_never_was() -> None:
    stage = Stage()
    stage.follow(Receive=[Send("out", ASK)])
    stage.node.boot_up()
    stage.node.pause_soon("p")
    stage.node.resume("p")
    stage.node.receive(Receive("x", ASK))
    assert stage.sends() == [(0, "out")]
    assert stage.facts == []


def test_a_process_that_never_reads_loses_messages_but_no_timer_and_no_word_of_its_disk() -> None:
    stage = Stage()
    stage.follow(Boot=lambda _: [stage.append(), SetTimer("t", 20 * MS)])
    stage.node.boot_up()
    stage.node.pause("p")
    for _ in range(INBOX_MAX + 10):
        stage.node.receive(Receive("x", ASK))
    stage.play(30 * MS)
    stage.node.resume("p")
    assert len(stage.taken(Receive)) == INBOX_MAX
    assert len(stage.taken(Timer)) == len(stage.taken(Durable)) == 1
