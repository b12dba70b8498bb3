"""A small campaign made by hand, for the tests of results and reports: one scenario that holds, one that is violated, one undecided.

The violated run is a plausible one, told in the vocabulary of the history: a hard kill while one of two sidecars is cut off, whose
lease is counted from the receipt of the grant instead of the sending of the request, so that an effect leaves after the bound T1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from msgspec import structs

from harness import results_store
from harness.results import Campaign, Failure, RunResult, ScenarioSummary, StopTime
from harness.shared.history import Fact, History
from harness.verdict import Finding, Verdict
from killswitch.core.machine import Parameters
from scenarios.schedule import DiskSpec, Expectations, LinkSpec, Schedule, Tape, Topology

MS = 1_000_000
BOUND_NS = 5_050_505_051
ORDER = "5c1f" * 16
HELD = "soft-overtaken-by-hard"
HOSTILE = "<script>alert(1)</script>|`@all`\u202e\x1b[2J"
HOSTILE_SHOWN = r"<script>alert(1)</script>|`@all`\u202e\u001b[2J"

_SLOW, _OFFSET_NS = 0.99, 1_204 * MS
_HOME, _CUT = "sidecar/acme/2", "sidecar/acme/1"


class Recorder:
    """Collects facts in any sequence; the clock of the cut-off sidecar runs slow and ahead."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []

    def add(self, at_ms: float, kind: str, node: str, **body: Any) -> None:
        at_ns = round(at_ms * MS)
        self.facts.append(Fact(at_ns, kind, node, clock_ns(node, at_ns), body))

    def history(self) -> History:
        return History(sorted(self.facts, key=lambda fact: fact.at_ns))


def clock_ns(node: str, at_ns: int) -> int:
    return _OFFSET_NS + round(at_ns * _SLOW) if node == _CUT else at_ns


def violated_history() -> History:
    """26 s of three replicas, two sidecars and a sink; the kill is effective at 12.034 s, the last effect leaves at 17.3 s."""
    recorder = Recorder()
    add = recorder.add
    add(0, "run-started", "world", scenario="kill-during-partition", seed=7, driver="sim")
    agents = {"acme/1": {"tenant": "acme", "labels": [], "sinks": ["sink/acme/ledger"]}, "acme/2": {"tenant": "acme", "labels": [], "sinks": []}}
    parameters = {"lease_ns": 5_000 * MS, "renew_ns": 1_000 * MS, "grace_ns": 30_000 * MS, "drift_ppm": 10_000}
    add(
        0,
        "topology",
        "world",
        replicas=3,
        quorum=2,
        kill_quorum=2,
        core=[],
        cells=[],
        agents=agents,
        sinks={"sink/acme/ledger": "F"},
        parameters=parameters,
    )
    for name in ("1", "2"):
        _work(recorder, f"acme/{name}", until_ms=17_400 if name == "1" else 12_060)
    for fault in ("fault-armed", "fault-on"):
        add(11_500, fault, "world", fault="cut", what="partition", target=[_CUT])
    add(11_510, "fault-fired", "world", fault="cut", what="partition")
    add(14_000, "fault-on", "world", fault="slow", what="disk-slow", target=["replica/3"])
    add(16_000, "fault-off", "world", fault="slow", what="disk-slow")
    add(20_000, "fault-off", "world", fault="cut", what="partition")
    scope = {"tenant": "acme", "scope": ["tenant", "acme"], "gate": 2, "life": 2, "grace_ns": 0}
    add(12_000, "order-requested", "operator", request="r1", principal="alice", reason="drill", cleanup="none", **scope)
    learned = {"order": ORDER, "issuer": "alice", "signer": "replica/1", "parent": "", "authentic": True, **scope}
    for node, at_ms in (("replica/1", 12_010), ("replica/2", 12_031), ("replica/3", 12_033), (_HOME, 12_052), (_CUT, 20_400)):
        add(at_ms, "order-learned", node, **learned)
        add(at_ms + 3, "order-durable", node, order=ORDER)
    add(12_040, "order-status", "operator", request="r1", order=ORDER, stage="EFFECTIVE", copies=2, keys=0)
    _stop(recorder, _HOME, "acme/2", 12_052)
    _stop(recorder, _CUT, "acme/1", 20_400)
    add(13_200, "node-crashed", "replica/3", lost_records=2, power=True)
    add(14_700, "node-started", "replica/3", boot="b2", instance="i2", records=17)
    add(20_000, "healed", "world")
    add(26_000, "run-ended", "world", reason="complete")
    return recorder.history()


def _work(recorder: Recorder, agent: str, until_ms: int) -> None:
    """Leases renewed each second and an effect each 300 ms, until the network or the kill ends it."""
    node, token = f"sidecar/{agent}", [1, 1, "i1"]
    recorder.add(0, "gate-changed", node, agent=agent, token=token, gate="CLOSED", mode="BOOT")
    for number in range(12):
        at_ms, nonce = 200 + 1_000 * number, f"{agent}-{number}"
        recorder.add(at_ms, "lease-requested", node, agent=agent, nonce=nonce, token=token, instance="i1")
        for replica, delay_ms in ((1, 8), (2, 11)):
            granted = {"agent": agent, "nonce": nonce, "token": token, "len_ns": 5_000 * MS}
            recorder.add(at_ms + delay_ms, "lease-granted", f"replica/{replica}", replica=f"replica/{replica}", **granted)
        opened_ns = (at_ms + 260) * MS
        until_ns = clock_ns(node, opened_ns) + 5_900 * MS
        recorder.add(at_ms + 260, "lease-opened", node, agent=agent, nonce=nonce, token=token, until_ns=until_ns)
    recorder.add(470, "gate-changed", node, agent=agent, token=token, gate="OPEN", mode="RUNNING")
    recorder.add(480, "process-started", node, agent=agent, token=token)
    for step, at_ms in enumerate(range(800, until_ms, 300)):
        effect = {"agent": agent, "token": token, "key": f"k{step}-{agent}", "cls": "new"}
        out = {"task": f"t{step}", "step": 1, "instance": "i1", "sink": "sink/acme/ledger"}
        recorder.add(at_ms, "effect-admitted", node, **effect, **out)
        recorder.add(at_ms + 14, "effect-applied", "sink/acme/ledger", sink="sink/acme/ledger", result="ok", again=False, **effect)


def _stop(recorder: Recorder, node: str, agent: str, at_ms: int) -> None:
    token = [1, 1, "i1"]
    recorder.add(at_ms, "gate-changed", node, agent=agent, token=token, gate="CLOSED", mode="KILLING")
    recorder.add(at_ms + 2, "process-killed", node, agent=agent, token=token)
    recorder.add(at_ms + 60, "process-reaped", node, agent=agent, token=token, code=-9, signalled=True)
    recorder.add(at_ms + 61, "gate-changed", node, agent=agent, token=token, gate="CLOSED", mode="STOPPED")
    recorder.add(at_ms + 70, "evidence-sent", node, agent=agent, token=token, order=ORDER, stage="STOPPED_FORCED")
    recorder.add(at_ms + 90, "agent-status", "operator", order=ORDER, agent=agent, token=token, stage="STOPPED_FORCED")


def violation(history: History) -> Finding:
    """The witness: the request and grants of the last lease, the two acceptors, and the effect that left too late."""
    late = max(index for index, fact in enumerate(history) if fact.kind == "effect-admitted")
    durable = [index for index, fact in enumerate(history) if fact.kind == "order-durable" and fact.node.startswith("replica/")][:2]
    last = [index for index, fact in enumerate(history) if fact.body.get("nonce") == "acme/1-11"]
    effective_ns, left_ns = history.facts[durable[1]].at_ns, history.facts[late].at_ns
    why = "acme/1 let an effect out 5.266 s after the HARD order was effective, 0.2155 s past the bound"
    timed = {"observed_ns": left_ns - effective_ns, "bound_ns": BOUND_NS}
    return Finding(invariant="S1", verdict=Verdict.INVALID, why=why, witness=(*last, *durable, late), examined=2, **timed)


def run(scenario: str, seed: int, verdict: Verdict, *findings: Finding, **changes: Any) -> RunResult:
    """One run with plausible numbers; ``changes`` replace any of them."""
    fields: dict[str, Any] = {
        "scenario": scenario, "seed": seed, "driver": "sim", "implementation": "killswitch", "verdict": verdict, "findings": findings,
        "digest": f"{seed:064x}", "token": f"H1-{scenario}-{seed}", "reached": {"order-durable": 6, "lease-opened": 40},
        "faults": {"partition": (1, 1, 1)}, "stop_times": (), "wall_s": 0.25, "simulated_ns": 26_000 * MS, "facts": 400, "ended": "complete",
    }  # fmt: skip
    return RunResult(**{**fields, **changes})


def stop(share: float, severity: str = "HARD", reaped_ms: int | None = 6_000) -> StopTime:
    """A stop that was in force after ``share`` of its bound."""
    reaped_ns = None if reaped_ms is None else reaped_ms * MS
    return StopTime(order=ORDER, agent="acme/1", severity=severity, last_admission_ns=round(BOUND_NS * share), reaped_ns=reaped_ns, bound_ns=BOUND_NS)


def schedule(scenario: str = "kill-during-partition", seed: int = 7) -> Schedule:
    """An empty schedule: enough to be kept beside a history."""
    nothing = Topology(replicas=3, kill_quorum=2, quorum=2, agents=(), sinks=())
    return Schedule(
        scenario=scenario, scenario_digest="0" * 64, version="0.1.0", seed=seed, duration_ns=26_000 * MS, settle_ns=0, topology=nothing,
        parameters=Parameters(), link=LinkSpec(), disk=DiskSpec(), clocks={}, work=(), timeline=(), expect=Expectations(), tape=Tape(seed=str(seed)),
    )  # fmt: skip


def write(out: Path) -> Path:
    """The campaign as a results directory below ``out``. Five runs: 2 valid, 2 violated (seeds 7 and 9), 1 unknown."""
    history = violated_history()
    broken = violation(history)
    held = Finding(invariant="L1", verdict=Verdict.VALID, examined=4)
    vacuous = Finding(invariant="S18", verdict=Verdict.VALID, examined=0)
    s1 = Finding(invariant="S1", verdict=Verdict.VALID, examined=2)
    crashed = Finding(invariant="S10", verdict=Verdict.UNKNOWN, why=f"the checker failed: {HOSTILE}")
    bad = run("kill-during-partition", 7, Verdict.INVALID, broken, held, vacuous, stop_times=(stop(1.0427), stop(0.004)))
    runs = [
        run("soft-overtaken-by-hard", 1, Verdict.VALID, s1, held, vacuous, stop_times=(stop(0.31), stop(0.62, "SOFT", None))),
        run("soft-overtaken-by-hard", 2, Verdict.VALID, s1, held, vacuous, stop_times=(stop(0.0), stop(0.97, "SOFT", 9_000))),
        results_store.keep_run(out, bad, schedule(), history),
        run("kill-during-partition", 9, Verdict.INVALID, _not_kept(broken), held, vacuous, stop_times=(stop(0.4),)),
        run(HOSTILE, 3, Verdict.UNKNOWN, crashed, reached={"order-durable": 1}, faults={"disk-fail": (2, 0, 0)}),
    ]
    results_store.save(out, campaign(), runs)
    return out


def with_gaps(out: Path) -> Path:
    """Two runs that held, of which some instances were skipped of S1 and all of L12, and for S24 of which no twin was played."""
    s1 = Finding(invariant="S1", verdict=Verdict.VALID, examined=2, skipped=1200)
    l12 = Finding(invariant="L12", verdict=Verdict.VALID, skipped=2)
    whole = Finding(invariant="S1", verdict=Verdict.VALID, examined=2)
    runs = [run(HELD, 1, Verdict.VALID, s1, l12, not_judged=("S24",)), run(HELD, 2, Verdict.VALID, whole, l12, not_judged=("S24",))]
    summary = ScenarioSummary(
        scenario=HELD, hypothesis="What is broken by the schedule is nobody's fault.", verdict=Verdict.VALID, runs=2,
        invariants={"S1": (2, 0, 0), "L12": (2, 0, 0)}, reached={}, never_reached=(), demanded=(), faults={},
        skipped={"S1": (1, 1200), "L12": (2, 4)}, not_judged=("S24",),
    )  # fmt: skip
    results_store.save(out, structs.replace(campaign(), verdict=Verdict.VALID, runs=2, scenarios=(summary,), failures=()), runs)
    return out


def _not_kept(finding: Finding) -> Finding:
    """The same finding of another run, whose history was not kept."""
    return Finding(invariant=finding.invariant, verdict=finding.verdict, why=finding.why, examined=1)


def campaign() -> Campaign:
    """What `harness.campaign` would say of the five runs."""
    return Campaign(
        verdict=Verdict.INVALID, driver="sim", implementation="killswitch", version="0.1.0", runs=5, wall_s=1.25, runs_per_s=4.0,
        scenarios=_summaries(), failures=_failures(), stop_time={},
    )  # fmt: skip


def _summaries() -> tuple[ScenarioSummary, ...]:
    return (
        ScenarioSummary(
            scenario="soft-overtaken-by-hard", hypothesis="A hard kill during a drain ends the drain at once.", verdict=Verdict.VALID, runs=2,
            invariants={"S1": (2, 0, 0), "L1": (2, 0, 0), "S18": (2, 0, 0)}, reached={"order-durable": 12, "lease-opened": 80},
            never_reached=("escalated",), demanded=("order-durable",), faults={"partition": (2, 2, 2)}, service_levels=("p99 under 12 s: met",),
        ),
        ScenarioSummary(
            scenario="kill-during-partition", verdict=Verdict.INVALID, runs=2,
            hypothesis="A hard kill issued while two agents are cut off stops them within the lease bound, and loses no checkpoint.",
            invariants={"S1": (0, 2, 0), "L1": (2, 0, 0), "S18": (2, 0, 0)}, reached={"order-durable": 12, "lease-opened": 80},
            never_reached=("lease-lost", "declared"), demanded=("order-durable", "lease-lost"), faults={"partition": (2, 2, 2)},
        ),
        ScenarioSummary(
            scenario=HOSTILE, hypothesis=f"Names may be hostile: {HOSTILE}", verdict=Verdict.UNKNOWN, runs=1, invariants={"S10": (0, 0, 1)},
            reached={"order-durable": 1}, never_reached=(), demanded=(), faults={"disk-fail": (2, 0, 0)},
        ),
    )  # fmt: skip


def _failures() -> tuple[Failure, ...]:
    why = "acme/1 let an effect out 5.266 s after the HARD order was effective, 0.2155 s past the bound"
    return (
        Failure(
            scenario=HOSTILE, seed=3, invariant="S10", verdict=Verdict.UNKNOWN, why=f"the checker failed: {HOSTILE}", token="H1-x-3",
            witness="", replay=f"haltproof replay 'H1-{HOSTILE}-3'",
        ),
        *(
            Failure(
                scenario="kill-during-partition", seed=seed, invariant="S1", verdict=Verdict.INVALID, why=why,
                token=f"H1-kill-during-partition-{seed}", witness="out/run/runs/kill-during-partition-7" if seed == 7 else "",
                replay=f"haltproof replay H1-kill-during-partition-{seed}",
            )
            for seed in (9, 7)
        ),
    )  # fmt: skip
