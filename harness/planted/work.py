"""Planted bugs of an agent's work: intents, ends and keys of its steps, what is in doubt, and undoing gone wrong."""

from __future__ import annotations

from harness.planted.bug import PlantedBug, as_if
from killswitch.core import agent as agents
from killswitch.core import intent, journal
from killswitch.core.agent import Agent
from killswitch.core.checkpoints import OpenTask
from killswitch.core.events import AcknowledgeTask, ProcessExited, Send, Submit
from killswitch.core.messages import Query, ResolveRequest, ResolveResult, StopRequest
from killswitch.core.outlet import record, send
from killswitch.core.sidecar import permits
from killswitch.core.sidecar.state import NEVER, QUESTIONS_MAX, Permit, Question, Sidecar, agent_node

_ask_sink = permits.ask_sink
_begin_leaving = agents.begin_leaving
_intend = agents.intend
_on_resolve_request = permits.on_resolve_request
_on_resolve_result = agents.on_resolve_result
_on_stop = agents.on_stop
_on_submit = agents.on_submit
_take_next = agents.take_next


def effect_before_intent(state: Agent, now_ns: int) -> None:
    """The effect is asked for first, and written down when its answer is in."""
    current = state.current
    if current is None or (state.stopping and (current.done == 0 or not state.drain)):
        state.phase, state.current = "idle", None
        return
    current.key = journal.key_of(current.task.task, current.done)
    state.open[current.task.task] = current
    agents.ask(state, now_ns)


def acknowledge_before_done(state: Agent, current: OpenTask, now_ns: int) -> None:
    state.effects.append(AcknowledgeTask(current.task.task, 0))
    state.phase = "finishing"
    state.awaiting[record(state, "DONE", {"task": current.task.task}, now_ns)] = ("DONE", current.task.task)


def clean_whatever_flies(state: Sidecar, event: ProcessExited) -> tuple[bool, tuple[str, ...]]:
    return event.code == 0 or state.stopping, ()


def ask_nobody(state: Agent, now_ns: int) -> None:
    """The step has no result, so it is done again."""
    current = state.open[state.unresolved.pop(0)]
    current.key = ""
    state.phase = "idle"
    agents.go_on(state, now_ns)


def key_of_this_try(state: Agent, now_ns: int) -> None:
    """Each try has a key of its own, so that no two can be confused."""
    of_step, try_ = vars(agents)["key_of"], state.chain.seq
    vars(agents)["key_of"] = lambda task, step: of_step(f"{task}@{try_}", step)
    try:
        _intend(state, now_ns)
    finally:
        vars(agents)["key_of"] = of_step


def silence_means_no(state: Agent, message: ResolveResult, now_ns: int) -> None:
    status = "ABSENT" if message.status == "IN_DOUBT" else message.status
    _on_resolve_result(state, ResolveResult(message.key, status, message.result), now_ns)


def believe_the_exit(state: Sidecar, event: ProcessExited) -> tuple[bool, tuple[str, ...]]:
    """It said that all is saved, and it left by itself."""
    left = tuple(sorted({permit.task for permit in state.permits.values() if permit.sent}))
    return event.code == 0 and not event.signalled and not left, left


def undo_as_it_was_done(current: OpenTask) -> int:
    """The first step first, counting from how many there were."""
    if not current.undoing:
        return current.done
    return current.task.steps - current.done if current.done < current.task.steps else 0


def undo_under_the_same_key(key: str) -> str:
    return key


def ask_about_nothing(state: Agent) -> None:
    state.doubt_timer_set = False


def one_nonce_for_each_start(state: Sidecar, request: ResolveRequest, now_ns: int) -> None:
    """What an earlier start asked is told apart."""
    _on_resolve_request(state, request, now_ns)
    question = state.resolving.get(request.key)
    if question is not None:
        question.nonce = state.instance
        state.effects[-1] = Send(question.sink, Query(state.config.agent, request.key, question.nonce))


def leave_after_a_drain(state: Agent, now_ns: int) -> None:
    if state.drain:
        _begin_leaving(state, now_ns)


def until_it_has_ended(state: Agent, current: OpenTask) -> bool:
    """Whatever took place can be undone."""
    return state.stopping and state.drain and state.compensate and current.task.undo and not current.undoing and current.done > 0


def undo_whatever_drains(state: Sidecar) -> None:
    send(state, agent_node(state), StopRequest(state.stop_drain, state.stop_drain))


def wait_for_an_answer(state: Sidecar, permit: Permit, now_ns: int) -> None:
    """Whatever was lost on its way."""


def think_and_say_nothing(state: Agent, now_ns: int) -> None:
    state.phase = "asking"


def look_for_it_in_the_queue(state: Agent, event: Submit, now_ns: int) -> None:
    """What is not waiting, and not on record, is new."""
    with as_if(state, "current", None):
        _on_submit(state, event, now_ns)


def try_once_more(state: Agent, event: Submit, now_ns: int) -> None:
    """Nothing of it stands, and it is wanted again."""
    if state.ended.get(event.task.task) == "ROLLED_BACK" and not state.stopping:
        del state.ended[event.task.task]
    _on_submit(state, event, now_ns)


def it_was_told_once(state: Agent, event: Submit, now_ns: int) -> None:
    if event.task.task not in state.ended:
        _on_submit(state, event, now_ns)


def ask_until_it_says(state: Sidecar, key: str, question: Question, now_ns: int) -> None:
    """A sink that is away will be back, and then it is known."""
    question.tries = 0
    _ask_sink(state, key, question, now_ns)


def three_times_and_no_longer(state: Sidecar, key: str, question: Question, now_ns: int) -> None:
    """Three renewals are time enough for any answer."""
    if question.tries >= QUESTIONS_MAX:
        question.since_ns = NEVER
    _ask_sink(state, key, question, now_ns)


def as_the_first_to_end_wants(state: Sidecar) -> None:
    """The order whose grace is over first is the one that is carried out."""
    stops = [known for known in intent.view(state.intent, state.identity).uncovered if known.id in state.deadlines]
    first = min(stops, key=lambda known: state.deadlines[known.id], default=None)
    undo = first is not None and first.body.cleanup == intent.COMPENSATE
    send(state, agent_node(state), StopRequest(state.stop_drain, state.stop_drain and undo))


def what_was_said_first(state: Agent, message: StopRequest, now_ns: int) -> None:
    """An agent is asked to stop once; whatever comes after that is the same again."""
    stopping, compensate = state.stopping, state.compensate
    _on_stop(state, message, now_ns)
    if stopping:
        state.compensate = compensate


def finish_whatever_is_begun(state: Sidecar) -> None:
    send(state, agent_node(state), StopRequest(state.stop_drain, compensate=False))


def whatever_is_open(state: Agent) -> bool:
    """Its grace is there to find out."""
    return any(task.done > 0 or task.undoing for task in state.open.values())


def whatever_is_begun(state: Agent, now_ns: int) -> None:
    """The sink tells for itself what it has seen before."""
    begun = [task for task in state.open.values() if task.done > 0 or task.undoing or not state.stopping]
    if begun:
        state.current = begun[0]
        agents.think(state, begun[0], now_ns)
    else:
        _take_next(state, now_ns)


BUGS = (
    PlantedBug("B22", "the effect comes before its intent", {"agent:intend": effect_before_intent}, ("S10",), ("swarm-storm",), "easy"),
    PlantedBug("B23", "upstream is told before the end is durable", {"agent:end": acknowledge_before_done}, ("S10",), ("swarm-storm",), "easy"),
    PlantedBug("B25", "a stop is called clean whatever is in flight", {"sidecar.step:how_it_ended": clean_whatever_flies}, ("S10", "S20"),
               ("quiesce-with-work-in-flight", "swarm-storm"), "medium"),
    PlantedBug("B105", "a step without a result is done again, under a key of its own",
               {"agent:resolve_next": ask_nobody, "agent:intend": key_of_this_try}, ("S9",), ("agent-dies-mid-checkpoint", "swarm-storm"), "easy"),
    PlantedBug("B106", "what nobody can say did not take place", {"agent:on_resolve_result": silence_means_no}, ("S10",),
               ("quiesce-with-work-in-flight", "swarm-storm"), "easy"),
    PlantedBug("B112", "an agent is believed about what it has saved", {"sidecar.step:how_it_ended": believe_the_exit}, ("S10",),
               ("lying-agent",), "easy"),
    PlantedBug("B113", "what is undone is undone in the order in which it was done", {"journal:next_step": undo_as_it_was_done}, ("S10", "S15"),
               ("compensation-cut-short",), "easy"),
    PlantedBug("B114", "a step is undone under the key under which it was done", {"journal:undo_key": undo_under_the_same_key}, ("S10",),
               ("compensation-cut-short",), "easy"),
    PlantedBug("B115", "what is in doubt is asked about once, at the start", {"agent:ask_about_doubts": ask_about_nothing}, ("L9",),
               ("in-doubt-until-the-sink-is-back",), "easy"),
    PlantedBug("B218", "all questions of one start have one nonce", {"sidecar.permits:on_resolve_request": one_nonce_for_each_start}, ("S10",),
               ("in-doubt-until-the-sink-is-back", "swarm-storm"), "easy"),
    PlantedBug("B272", "a task whose last step took place is undone, if its end is not on record", {"agent:is_to_be_undone": until_it_has_ended},
               ("S10",), ("end-lost-with-the-power",), "easy"),
    PlantedBug("B284", "an effect that was lost is never tried again", {"sidecar.permits:retry": wait_for_an_answer}, ("L14",), ("swarm-storm",),
               "medium"),
    PlantedBug("B285", "an agent waits for the answer to what it never asked", {"agent:ask": think_and_say_nothing}, ("L14",),
               ("total-control-plane-loss", "swarm-storm"), "easy"),
    PlantedBug("B286", "who is to stop at once waits to be killed", {"agent:begin_leaving": leave_after_a_drain},
               ("L4",), ("quiesce-in-peace",), "easy"),
    PlantedBug("B290", "every drain undoes what is begun, whatever its order says", {"sidecar.step:request_stop": undo_whatever_drains}, ("S10",),
               ("finished-and-not-undone",), "easy"),
    PlantedBug("B321", "a task that comes again in its first think is done again", {"agent:on_submit": look_for_it_in_the_queue}, ("S10",),
               ("handed-over-again",), "easy"),
    PlantedBug("B322", "a task that was rolled back, and told to be, is taken up again", {"agent:on_submit": try_once_more}, ("S10",),
               ("handed-over-again",), "medium"),
    PlantedBug("B323", "upstream is told the end of a task once", {"agent:on_submit": it_was_told_once}, ("L14",), ("handed-over-again",), "easy"),
    PlantedBug("B324", "a sink that does not answer is asked for as long as it takes", {"sidecar.permits:ask_sink": ask_until_it_says}, ("L9",),
               ("in-doubt-until-the-sink-is-back", "swarm-storm"), "medium"),
    PlantedBug("B325", "of two stops the one that ends first says what becomes of what is begun",
               {"sidecar.step:request_stop": as_the_first_to_end_wants}, ("S10",), ("soft-twice-with-cleanup",), "easy"),
    PlantedBug("B326", "an agent that is to stop hears of no other cleanup", {"agent:on_stop": what_was_said_first}, ("S10",),
               ("soft-twice-with-cleanup",), "easy"),
    PlantedBug("B327", "nothing that is begun is undone", {"sidecar.step:request_stop": finish_whatever_is_begun}, ("S10",),
               ("soft-twice-with-cleanup",), "easy"),
    PlantedBug("B435", "an agent goes on with a task that is in doubt", {"agent:take_next": whatever_is_begun}, ("S10",),
               ("in-doubt-until-the-sink-is-back", "lost-at-a-challenged-sink"), "easy"),
    PlantedBug("B437", "an agent that drains waits for what is in doubt", {"agent:unfinished": whatever_is_open}, ("L4",),
               ("in-doubt-while-it-drains",), "easy"),
    PlantedBug("B482", "a sink is asked three times, however long the network takes", {"sidecar.permits:ask_sink": three_times_and_no_longer},
               ("L9",), ("over-a-slow-network",), "easy"),
)  # fmt: skip
