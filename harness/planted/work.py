"""Planted bugs of work in flight and of agents that misbehave: stops that nobody hears, restarts that nobody asked for, undoing gone wrong."""

from __future__ import annotations

from harness.planted.bug import PlantedBug
from killswitch.core.agent import Agent
from killswitch.core.checkpoints import OpenTask
from killswitch.core.events import ProcessExited, Signal, SignalKind, Spawn
from killswitch.core.sidecar import step as sidecar_step
from killswitch.core.sidecar.state import Sidecar

_ask_to_stop = sidecar_step.ask_to_stop
_forget_process = sidecar_step.forget_process


def term_without_a_continue(state: Sidecar, now_ns: int) -> None:
    _ask_to_stop(state, now_ns)
    state.effects.remove(Signal(SignalKind.CONT))


def restart_always(state: Sidecar) -> None:
    """The supervisor was told to: restart=always."""
    _forget_process(state)
    state.process = state.opened = True
    state.effects.append(Spawn(state.token))


def never_say_that_it_lives(state: Sidecar, now_ns: int) -> bool:
    return False


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


BUGS = (
    PlantedBug("B39", "a process that something stopped is asked to stop, and not continued", {"sidecar.step:ask_to_stop": term_without_a_continue},
               ("S28",), ("runaway-trader",), "easy"),
    PlantedBug("B40", "a supervisor restarts whatever ends", {"sidecar.step:forget_process": restart_always}, ("S6", "S8"),
               ("runaway-trader", "swarm-storm"), "easy"),
    PlantedBug("B111", "nobody is told that a kill did not succeed", {"sidecar.step:cannot_end": never_say_that_it_lives}, ("L2",),
               ("force-delete-left-it-running",), "easy"),
    PlantedBug("B112", "an agent is believed about what it has saved", {"sidecar.step:how_it_ended": believe_the_exit}, ("S10",), ("lying-agent",),
               "easy"),
    PlantedBug("B113", "what is undone is undone in the order in which it was done", {"journal:next_step": undo_as_it_was_done},
               ("S10", "S15"), ("compensation-cut-short",), "easy"),
    PlantedBug("B114", "a step is undone under the key under which it was done", {"journal:undo_key": undo_under_the_same_key},
               ("S10",), ("compensation-cut-short",), "easy"),
    PlantedBug("B115", "what is in doubt is asked about once, at the start", {"agent:ask_about_doubts": ask_about_nothing}, ("L9",),
               ("in-doubt-until-the-sink-is-back",), "easy"),
)  # fmt: skip
