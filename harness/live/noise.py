"""What a host adds to a run by itself: how late its timers, how long its round trips and its syncs, read off the traces of the nodes.

Owns the reading of one node's trace. Must not know why anybody asks, nor what would be too much.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from killswitch.core.events import Append, Boot, Durable, Effect, Receive, Send, SetTimer, Timer
from killswitch.core.messages import LeaseReply, LeaseRequest
from killswitch.live.trace import Entry, Raised, Released, Started, Step


class Samples(Struct):
    """All in nanoseconds. ``timer``: from when a timer was due to the step that took it, on the node's clock. ``trip``: from a lease request leaving
    a sidecar, through the proxy, to a replica's answer; not those of the first round, which wait for connections. ``sync``: from a record being
    appended to the step that heard that it is durable."""

    timer: list[int]
    trip: list[int]
    sync: list[int]


def samples(entries: Iterable[Entry]) -> Samples:
    """What one trace shows. Whatever was under way when a process died is nobody's."""
    reading = _Reading()
    for entry in entries:
        reading.take(entry)
    return reading.found


class _Reading:
    def __init__(self) -> None:
        self.found = Samples([], [], [])
        self._forget()

    def _forget(self) -> None:
        self._due: dict[str, int] = {}
        self._unsynced: dict[int, int] = {}
        self._asked: dict[tuple[str, str], int] = {}
        self._answered: set[str] = set()

    def take(self, entry: Entry) -> None:
        match entry:
            case Step():
                self._event(entry)
                for effect in entry.effects:
                    self._effect(effect, entry.at_ns, entry.clock_ns)
            case Released(effect=Send(to=to, message=LeaseRequest(nonce=nonce))):
                self._ask(to, nonce, entry.at_ns)
            case Started() | Released() | Raised():
                pass

    def _event(self, step: Step) -> None:
        match step.event:
            case Boot():
                self._forget()
            case Timer(name=name) if name in self._due:
                self.found.timer.append(max(0, step.clock_ns - self._due.pop(name)))
            case Durable(lsn=lsn):
                self.found.sync += [step.at_ns - self._unsynced.pop(each) for each in [each for each in self._unsynced if each <= lsn]]
            case Receive(sender=sender, message=LeaseReply(nonce=nonce)):
                asked_ns = self._asked.pop((sender, nonce), None)
                if asked_ns is not None and sender in self._answered:
                    self.found.trip.append(step.at_ns - asked_ns)
                self._answered.add(sender)

    def _effect(self, effect: Effect, at_ns: int, clock_ns: int) -> None:
        match effect:
            case SetTimer(name=name, at_ns=None):
                self._due.pop(name, None)
            case SetTimer(name=name, at_ns=int(due_ns)):
                self._due[name] = max(due_ns, clock_ns)  # one that is due already is late only from now on
            case Append(record=record):
                self._unsynced[record.seq] = at_ns
            case Send(to=to, message=LeaseRequest(nonce=nonce), after_lsn=0):
                self._ask(to, nonce, at_ns)

    def _ask(self, to: str, nonce: str, at_ns: int) -> None:
        self._asked.setdefault((to, nonce), at_ns)
