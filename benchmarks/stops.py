"""`python -m benchmarks.stops [kill | partition | fleet | orders ...]`: how long live stops take, beside what is there without a protocol.

Owns four measurements of real processes wired through a real Toxiproxy, and prints figures; passes no judgement:

    kill        a hard kill over healthy links, from the operator's call to the process reaped; beside a bare ``kill -9`` and wait, and beside
                supervisord's stop (SIGKILL, over its Unix socket), where supervisord is installed
    partition   T1: from an order's taking effect to the gate shut, when no replica can reach the sidecar any more, beside its bound
    fleet       100 agents of one tenant, and one order that kills them all
    orders      orders a second that a replica makes durable with FULL sync, beside SQLite's own rate of commits on the same disk

Wall-clock time, on whatever else the machine does meanwhile. The harness looks at the timeline every 5 ms: up to so much of a kill is waiting.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import xmlrpc.client
from collections.abc import Callable, Iterable
from http.client import HTTPConnection
from pathlib import Path

from harness.live import driver
from harness.shared.history import Fact, History
from killswitch.core import leases
from killswitch.core.events import Record
from killswitch.core.machine import Parameters
from killswitch.live.log import SqliteLog
from scenarios.schedule import AgentSpec, DiskSpec, Entry, Expectations, Fault, LinkSpec, Operation, Schedule, SinkSpec, Tape, Topology, Trigger, Work

SECOND = 1_000_000_000
MS = 1_000_000
SINK = "sink/acme/ledger"
KILLS = 40
RUNS = 4
FLEET = 100
STAMPEDE_S = 60  # until a fleet has started, on two cores that others use too
ORDERS = 200
PROGRAM = (sys.executable, "-c", "import time; time.sleep(3600)")


def cell(agents: int, timeline: Iterable[Entry], *, seconds: int, settle: int = 3) -> Schedule:
    """Three replicas, one tenant with a sink, ``agents`` agents with a task every other second each; no fault but those of the timeline."""
    names = [f"acme/{number}" for number in range(1, agents + 1)]
    work = tuple(
        Work(at_ns=SECOND + number * 37 % 1000 * MS + turn * 2 * SECOND, agent=name, task=f"{name}/task-{turn}", sink=SINK, steps=1, step_ns=20 * MS)
        for turn in range(seconds // 2)
        for number, name in enumerate(names)
    )
    return Schedule(
        scenario="stops", scenario_digest="", version="", seed=1, duration_ns=seconds * SECOND, settle_ns=settle * SECOND,
        topology=Topology(
            replicas=3, kill_quorum=2, quorum=2, sinks=(SinkSpec(sink=SINK, tenant="acme"),),
            agents=tuple(AgentSpec(agent=name, tenant="acme", sinks=(SINK,)) for name in names),
        ),
        parameters=Parameters(), link=LinkSpec(), disk=DiskSpec(), clocks={}, work=work, timeline=tuple(timeline), expect=Expectations(),
        tape=Tape(seed="stops"),
    )  # fmt: skip


def order(at_ns: int, verb: str, name: str, scope: tuple[str, str], replica: str = "") -> Entry:
    action = Operation(verb=verb, tenant="acme", scope=scope, principal="alice", reason="measured", request=name, replica=replica)
    return Entry(id=name, trigger=Trigger(at_ns=at_ns), action=action)


def play(schedule: Schedule) -> History:
    """One live run. Raises `SystemExit` if its means failed: there is nothing to measure then."""
    with tempfile.TemporaryDirectory(prefix="haltproof-stops-") as directory:
        played = driver.play(schedule, "killswitch", Path(directory) / "run")
    if played.why:
        raise SystemExit(f"the run came to nothing: {played.why}")
    return played.history


def spread(name: str, times_ns: list[int]) -> str:
    """Observed values, none of them interpolated."""
    ordered = sorted(times_ns)
    at = [ordered[min(len(ordered) - 1, int(len(ordered) * share))] / MS for share in (0.5, 0.99)]
    return f"{name:44} {len(ordered):4} x   p50 {at[0]:8.1f} ms   p99 {at[1]:8.1f} ms   max {ordered[-1] / MS:8.1f} ms"


def first(facts: Iterable[Fact], kind: str, **body: object) -> int | None:
    """When the first such fact was recorded."""
    return next((fact.at_ns for fact in facts if fact.kind == kind and body.items() <= fact.body.items()), None)


# -- what stops are without a protocol -------------------------------------------------------------------------------------------------


def bare_kills() -> list[int]:
    """``kill -9`` and wait, of a Python process that sleeps."""
    times = []
    for _ in range(KILLS):
        process = subprocess.Popen(PROGRAM, start_new_session=True)
        time.sleep(0.05)
        began = time.monotonic_ns()
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        times.append(time.monotonic_ns() - began)
    return times


class _UnixConnection(HTTPConnection):
    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.host)


class _UnixTransport(xmlrpc.client.Transport):
    def __init__(self, path: str) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: object) -> HTTPConnection:  # noqa: ARG002  # the name that the base class gives it
        return _UnixConnection(self._path)


def supervised_stops() -> list[int]:
    """supervisord's own ``stopProcess``, which answers when the process is gone. Raises `FileNotFoundError` where it is not installed."""
    found = shutil.which("supervisord") or shutil.which("supervisord", path=str(Path(sys.executable).parent))
    if found is None:
        raise FileNotFoundError("supervisord is not installed")
    with tempfile.TemporaryDirectory(prefix="haltproof-sv-") as directory:
        path, configuration = f"{directory}/s", Path(directory) / "conf"
        programs = "\n".join(
            f"[program:p{number}]\ncommand={PROGRAM[0]} -c '{PROGRAM[2]}'\nstopsignal=KILL\nautorestart=false\nstartsecs=0" for number in range(KILLS)
        )
        configuration.write_text(
            f"[supervisord]\nnodaemon=true\nlogfile=/dev/null\nlogfile_maxbytes=0\npidfile={directory}/pid\n[unix_http_server]\nfile={path}\n"
            "[rpcinterface:supervisor]\nsupervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n" + programs
        )
        server = subprocess.Popen([found, "-c", str(configuration)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 15
            while not Path(path).exists() and time.monotonic() < deadline:
                time.sleep(0.05)
            time.sleep(3)  # until all of them run
            proxy = xmlrpc.client.ServerProxy("http://localhost/RPC2", transport=_UnixTransport(path))
            times = []
            for number in range(KILLS):
                began = time.monotonic_ns()
                proxy.supervisor.stopProcess(f"p{number}", True)
                times.append(time.monotonic_ns() - began)
            return times
        finally:
            server.terminate()
            server.wait()


# -- ours --------------------------------------------------------------------------------------------------------------------------------


def kill() -> None:
    times: list[int] = []
    shut: list[int] = []
    agents = KILLS // RUNS
    for _ in range(RUNS):
        timeline = [order((4 * SECOND) + number * 200 * MS, "hard", f"kill-{number}", ("agent", f"acme/{number}")) for number in range(1, agents + 1)]
        facts = list(play(cell(agents, timeline, seconds=7)))
        for number in range(1, agents + 1):
            called = first(facts, "operation-played", operation=f"kill-{number}")
            mine = [fact for fact in facts if called is not None and fact.at_ns >= called and fact.body.get("agent") == f"acme/{number}"]
            reaped, closed = first(mine, "process-reaped"), first(mine, "gate-changed", gate="CLOSED")
            if called is None or reaped is None or closed is None:
                raise SystemExit(f"acme/{number} was not stopped")
            times.append(reaped - called)
            shut.append(closed - called)
    print(spread("hard kill: operator's call to gate shut", shut))
    print(spread("hard kill: operator's call to process reaped", times))
    print(spread("bare kill -9 and wait", bare_kills()))
    try:
        print(spread("supervisord, stopsignal KILL, to stopped", supervised_stops()))
    except FileNotFoundError as missing:
        print(f"supervisord: {missing}")


def partition() -> None:
    """Each sidecar is cut off in both directions, and right after it the order comes."""
    parameters = Parameters()
    ratios: list[float] = []
    for _ in range(RUNS):
        names = ["acme/1", "acme/2", "acme/3"]
        links = [(f"replica/{number}", f"sidecar/{name}") for number in (1, 2, 3) for name in names]
        both_ways = tuple(each for link in links for each in (link, link[::-1]))
        cut = Fault(what="partition", links=both_ways, for_ns=12 * SECOND, settings={"shape": "blackhole"})
        timeline = [Entry(id="cut", trigger=Trigger(at_ns=5 * SECOND), action=cut), order(5 * SECOND + 50 * MS, "hard", "kill", ("tenant", "acme"))]
        facts = list(play(cell(3, timeline, seconds=18)))
        effective = first(facts, "order-status", stage="EFFECTIVE")
        for name in names:
            closed = first((fact for fact in facts if fact.at_ns > 5 * SECOND), "gate-changed", agent=name, gate="CLOSED")
            if effective is None or closed is None:
                raise SystemExit(f"{name}: the order did not take effect, or the gate stayed open")
            ratios.append(max(0, closed - effective) / leases.hard_bound_ns(parameters))
    ratios.sort()
    bound_ms = leases.hard_bound_ns(parameters) / MS
    print(f"T1 under total partition, observed / bound: p50 {ratios[len(ratios) // 2]:.2f}, max {ratios[-1]:.2f} of {bound_ms:.0f} ms")


def fleet() -> None:
    """The kill comes when the stampede of the start is over."""
    facts = list(play(cell(FLEET, [order(STAMPEDE_S * SECOND, "hard", "kill", ("tenant", "acme"))], seconds=STAMPEDE_S + 10)))
    called = first(facts, "operation-played", operation="kill")
    reaped = [fact.at_ns - (called or 0) for fact in facts if fact.kind == "process-reaped" and called is not None and fact.at_ns >= called]
    print(spread(f"{FLEET} agents, one order: call to reaped", reaped))


def orders() -> None:
    """All at one replica, at one instant: it commits in groups, as its disk allows."""
    timeline = [order(4 * SECOND, "isolate", f"order-{number}", ("agent", "acme/1"), "replica/1") for number in range(ORDERS)]
    facts = list(play(cell(1, timeline, seconds=14)))
    called = first(facts, "operation-played")
    durable = [fact.at_ns for fact in facts if fact.kind == "order-durable" and fact.node == "replica/1"]
    if called is None or not durable:
        raise SystemExit("no order became durable")
    took = durable[-1] - called
    print(f"orders made durable by one replica: {len(durable)} in {took / MS:.0f} ms, {len(durable) * SECOND / took:.0f} a second")
    with tempfile.TemporaryDirectory(prefix="haltproof-commits-") as directory:
        log = SqliteLog(Path(directory) / "log.db")
        began = time.monotonic_ns()
        for number in range(1, ORDERS + 1):
            log.append([Record(number, bytes(32), "ORDER", 0, "boot-1", secrets.token_bytes(400), bytes(32))])
        took = time.monotonic_ns() - began
        log.close()
    print(f"SQLite's own commits of one record, FULL sync: {ORDERS * SECOND / took:.0f} a second")


MEASURES: dict[str, Callable[[], None]] = {"kill": kill, "partition": partition, "fleet": fleet, "orders": orders}


def main(names: list[str]) -> None:
    for name in names or MEASURES:
        if name not in MEASURES:
            raise SystemExit(f"no measurement of that name (got {name!r}); there are {', '.join(MEASURES)}")
        MEASURES[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
