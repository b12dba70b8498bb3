"""`python -m benchmarks.agenda [EVENTS ...]`: what an event costs while so many others are to come, in one heap of all and with slots of time.

Owns an agenda on which everything comes again a second later. Prints figures and passes no judgement; the ratio of the two columns is what counts.
"""

from __future__ import annotations

import sys
import time

from scenarios.schedule import Tape as TapeSpec
from sim.queue import TIE_BITS, Queue
from sim.tape import Tape
from sim.world import CROWD_NS

SECOND = 1_000_000_000
AGENDAS = (100, 6_000, 60_000)
EVENTS_AN_AGENT = 6  # that are to come for one agent at any time, in the fleets of `benchmarks.scale`
PLAYED = 300_000


def us_per_event(events: int, slot_ns: int) -> float:
    """CPU time of putting an event on the agenda and taking it off again."""
    tape = Tape(TapeSpec(seed="agenda"))
    queue, when = Queue(tape.bits("ties", TIE_BITS), slot_ns), tape.stream("when")

    def again(_: object) -> None:
        queue.at(queue.now + SECOND, again)

    for _ in range(events):
        queue.at(when(SECOND), again)
    queue.play(SECOND)
    seconds = max(1, PLAYED // events)
    began = time.process_time()
    queue.play((1 + seconds) * SECOND)
    return (time.process_time() - began) * 1e6 / events / seconds


def main(agendas: tuple[int, ...]) -> None:
    print("events to come   us in one heap   us in slots")
    for events in agendas:
        slot_ns = CROWD_NS // (1 + events // EVENTS_AN_AGENT)
        print(f"{events:14}   {us_per_event(events, 1 << 60):14.2f}   {us_per_event(events, slot_ns):11.2f}", flush=True)


if __name__ == "__main__":
    main(tuple(int(argument) for argument in sys.argv[1:]) or AGENDAS)
