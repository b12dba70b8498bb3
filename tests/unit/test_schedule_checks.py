"""A schedule file that somebody has edited: it is refused by name, with everything that is wrong, or it plays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scenarios import load as scenarios
from scenarios import schedule as schedules
from scenarios.draw import draw
from scenarios.faults import DAY
from scenarios.schedule import PROBLEMS_SHOWN
from scenarios.schedule_checks import problems
from tests.live.schedules import MS, SECOND, both_ways, fault, order, short

TIMELINE = (
    order("hard", SECOND),
    fault("drift", "clock-drift", SECOND, SECOND, targets=("replica/1",), rate_ppm=1),
    fault("cut", "partition", SECOND, 500 * MS, links=both_ways("replica/1", "replica/2"), shape="cut"),
)
HARD, DRIFT, CUT = ("timeline.0", "timeline.1", "timeline.2")


def edited(tmp_path: Path, *edits: tuple[str, Any]) -> Path:
    """A schedule that plays, saved, with some values put in at their dotted paths."""
    path = tmp_path / "schedule.json"
    content = json.loads(short(*TIMELINE).encode())
    for place, value in edits:
        *steps, last = place.split(".")
        part = content
        for step in steps:
            part = part[int(step)] if isinstance(part, list) else part[step]
        part[int(last) if isinstance(part, list) else last] = value
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("name", scenarios.library())
def test_what_is_drawn_has_no_problems_and_survives_the_file(name: str, tmp_path: Path) -> None:
    scenario = scenarios.load(scenarios.find(name))
    for seed in range(1, 6):
        drawn = draw(scenario, seed, "0")
        assert problems(drawn) == []
        drawn.save(tmp_path / "schedule.json")
        assert schedules.load(tmp_path / "schedule.json") == drawn


def test_what_is_left_alone_is_read(tmp_path: Path) -> None:
    assert schedules.load(edited(tmp_path)) == short(*TIMELINE)


@pytest.mark.parametrize(
    ("place", "value", "field"),
    [
        ("scenario", "../../etc", "scenario: not of its form (got '../../etc')"),
        ("seed", -1, "seed: out of its limits (got -1)"),
        ("seed", 10**30, "seed: out of its limits"),
        ("duration_ns", 0, "duration_ns: out"),
        ("duration_ns", DAY + 1, "duration_ns: out"),
        ("settle_ns", -1, "settle_ns: out"),
        ("topology.quorum", 1, "topology.quorum: quorums that need not meet (got 'quorum 1 and kill_quorum 2 of 3')"),
        ("topology.replicas", 10**9, "topology.replicas: out of its limits"),
        ("topology.replicas", 0, "topology.replicas: out of its limits"),
        ("topology.agents.0.agent", "acme", "topology.agents[0].agent: not of its form"),
        ("topology.agents.0.agent", "acme/2", "topology.agents[1].agent: there is one of that name already"),
        ("topology.agents.0.tenant", "globex", "topology.agents[0].tenant: not the tenant of 'acme/1'"),
        ("topology.agents.0.sinks", ["sink/acme/other"], "topology.agents[0].sinks: unknown sink"),
        ("topology.sinks.0.sink", "ledger", "topology.sinks[0].sink: not of its form"),
        ("topology.sinks.0.sink_class", "X", "topology.sinks[0].sink_class: unknown class"),
        ("parameters.lease_ns", 0, "parameters.lease_ns: out"),
        ("parameters.renew_ns", -1, "parameters.renew_ns: out"),
        ("parameters.gossip_ns", 0, "parameters.gossip_ns: out"),
        ("parameters.drift_ppm", 1_000_000, "parameters.drift_ppm: out"),
        ("parameters.approvals", 0, "parameters.approvals: out"),
        ("link.latency_ns", -1, "link.latency_ns: out"),
        ("link.loss_ppm", 1_000_001, "link.loss_ppm: out"),
        ("disk.sync_ns", 10**30, "disk.sync_ns: out"),
        ("clocks", {"replica/9": {}}, "clocks: unknown node (got 'replica/9')"),
        ("clocks", {"replica/1": {"drift_ppm": -1_000_000}}, "drift_ppm: out of its limits (got -1000000)"),
        ("clocks", {"replica/1": {"drift_ppm": 10_001}}, "drift_ppm: out of its limits (got 10001); use -10000 to 10000"),
        ("work.0.agent", "acme/9", "work[0].agent: unknown agent"),
        ("work.0.sink", "sink/acme/none", "work[0].sink: unknown sink"),
        ("work.0.task", "task-1", "work[1].task: there is one of that name already"),
        ("work.0.at_ns", -1, "work[0].at_ns: out"),
        ("work.0.steps", 10**9, "work[0].steps: out"),
        (f"{HARD}.id", "drift", "timeline[1].id: there is one of that name already"),
        (f"{HARD}.action.verb", "destroy", "timeline[0].action.verb: unknown verb"),
        (f"{HARD}.action.scope", ["galaxy", ""], "timeline[0].action.scope: unknown kind of scope"),
        (f"{HARD}.action.scope", ["agent", "acme"], "timeline[0].action.scope: not of its form"),
        (f"{HARD}.action.principal", "", "timeline[0].action.principal: not of its form"),
        (f"{HARD}.action.replica", "replica/7", "timeline[0].action.replica: unknown replica"),
        (f"{HARD}.trigger", {}, "timeline[0].trigger: not exactly one form of trigger (got 'none')"),
        (f"{HARD}.trigger", {"at_ns": 1, "after": "healed"}, "timeline[0].trigger: not exactly one form of trigger (got 'at_ns, after')"),
        (f"{HARD}.trigger", {"at_ns": -1}, "timeline[0].trigger.at_ns: out"),
        (f"{HARD}.trigger", {"after": "nothing-such"}, "timeline[0].trigger.after: unknown kind of fact"),
        (f"{HARD}.trigger", {"after": "healed", "where": {"hue": 1}}, "timeline[0].trigger.where: unknown field of this fact"),
        (f"{HARD}.trigger", {"after": "healed", "where": {"node": [1]}}, "timeline[0].trigger.where.node: not a text"),
        (f"{HARD}.trigger", {"when": ["mood", "acme/1", "is", "OPEN"]}, "timeline[0].trigger.when[0]: unknown quantity"),
        (f"{HARD}.trigger", {"when": ["gate", "acme/9", "is", "OPEN"]}, "timeline[0].trigger.when[1]: unknown agent"),
        (f"{HARD}.trigger", {"when": ["lease.left", "acme/1", "is", "5"]}, "timeline[0].trigger.when[2]: unknown comparison"),
        (f"{HARD}.trigger", {"when": ["lease.left", "acme/1", "<", "5%"]}, "timeline[0].trigger.when[3]: not a part"),
        (f"{HARD}.trigger", {"when": ["gate", "acme/1", "is", "AJAR"]}, "timeline[0].trigger.when[3]: unknown gate"),
        (f"{DRIFT}.action.what", "flood", "timeline[1].action.what: unknown fault"),
        (f"{DRIFT}.action.for_ns", -1, "timeline[1].action.for_ns: out"),
        (f"{DRIFT}.action.targets", ["replica/9"], "timeline[1].action.targets: unknown node"),
        (f"{DRIFT}.action.targets", ["operator"], "timeline[1].action.targets: clock-drift cannot hit such a node"),
        (f"{DRIFT}.action.settings", {}, "timeline[1].action.settings.rate_ppm: left out"),
        (f"{DRIFT}.action.settings", {"rate_ppm": -1_000_000}, "timeline[1].action.settings.rate_ppm: out"),
        (f"{DRIFT}.action.settings", {"rate_ppm": "fast"}, "timeline[1].action.settings.rate_ppm: not a whole number"),
        (f"{CUT}.action.settings", {"shape": "round"}, "timeline[2].action.settings.shape: unknown choice"),
        (f"{CUT}.action.settings", {"depth": 1}, "timeline[2].action.settings: unknown setting of partition"),
        (f"{CUT}.action.links", [["replica/1", "replica/9"]], "timeline[2].action.links[0]: no such link (got 'replica/1 -> replica/9')"),
        ("expect.invariants", ["safety"], "expect.invariants[0]: not of its form"),
        ("expect.reached", ["nothing-such"], "expect.reached[0]: unknown kind of fact"),
        ("expect.stop_time", [{"percentile": 101, "under_ns": 1}], "expect.stop_time[0].percentile: out"),
        ("stop_when", [{"quantity": "boredom", "above": 1}], "stop_when[0].quantity: unknown quantity"),
        ("tape.fixed", {"ties": {"first": 1}}, "not of its form (got 'first')"),
        ("tape.fixed", {"ties": {"0": -1}}, "out of its limits (got -1)"),
        ("surprise", 1, "unknown field `surprise`"),
        ("parameters.leash_ns", 1, "unknown field `leash_ns`"),
        ("schema", "haltproof/schedule/9", "schema: unknown form"),
        ("parameters.renew_ns", 1, "parameters.renew_ns: out of its limits (got 1); use 1000000 to"),
        ("parameters.kill_retry_ns", 999_999, "parameters.kill_retry_ns: out of its limits (got 999999); use 1000000 to"),
        (f"{HARD}.action.tenant", "acne", "timeline[0].action.tenant: unknown tenant (got 'acne'); did you mean 'acme'?"),
        (f"{HARD}.action.scope", ["agent", "acme/77"], "timeline[0].action.scope: unknown agent (got 'acme/77')"),
        (f"{HARD}.action.scope", ["tenant", "globex"], "timeline[0].action.scope: unknown tenant (got 'globex')"),
        (f"{HARD}.action.type", "wish", "Invalid value 'wish' - at `$.timeline[0].action.type`"),
    ],
)
def test_nonsense_is_refused_by_its_place(place: str, value: Any, field: str, tmp_path: Path) -> None:
    path = edited(tmp_path, (place, value))
    with pytest.raises(ValueError, match="schedule") as refused:
        schedules.load(path)
    assert all(line.startswith(f"{path}: ") for line in str(refused.value).splitlines())
    assert field in str(refused.value)


def test_all_problems_are_told_at_once_but_not_without_end(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="seed: ") as both:
        schedules.load(edited(tmp_path, ("seed", -1), ("link.loss_ppm", -1)))
    assert "link.loss_ppm: " in str(both.value)
    agents = [{"agent": f"acme{number}", "tenant": "acme"} for number in range(50)]
    with pytest.raises(ValueError, match=r"and [0-9]+ more$") as many:
        schedules.load(edited(tmp_path, ("topology.agents", agents)))
    assert len(str(many.value).splitlines()) == PROBLEMS_SHOWN + 1


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe{}", b'{"seed": "\xff"}', b"[" * 5000, b'{"surprise": ' + b"[" * 5000 + b"]" * 5000 + b"}", b"[]"]
)
def test_what_is_no_schedule_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "schedule.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="a schedule file is what `haltproof run` leaves beside a violation") as refused:
        schedules.load(path)
    assert str(refused.value).startswith(f"{path}: ")


def test_deep_nesting_where_anything_may_stand_is_named(tmp_path: Path) -> None:
    path = edited(tmp_path, (f"{HARD}.trigger", {"after": "healed", "where": {"node": "DEEP"}}))
    path.write_text(path.read_text().replace('"DEEP"', "[" * 5000 + "]" * 5000))
    with pytest.raises(ValueError, match="nested too deeply"):
        schedules.load(path)


def test_a_key_that_stands_twice_is_named_by_its_path(tmp_path: Path) -> None:
    path = edited(tmp_path)
    text = path.read_text()
    path.write_text(text.replace('"seed": ', '"seed": 5, "seed": ', 1).replace('"verb": ', '"verb": "soft", "verb": ', 1))
    with pytest.raises(ValueError, match="schedule") as refused:
        schedules.load(path)
    assert sorted(str(refused.value).splitlines()) == [
        f"{path}: seed: stands there 2 times; keep one of them", f"{path}: timeline[0].action.verb: stands there 2 times; keep one of them",
    ]  # fmt: skip


def test_a_schedule_says_its_form(tmp_path: Path) -> None:
    path = edited(tmp_path)
    content = json.loads(path.read_text())
    del content["schema"]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"schema: missing; a schedule says its form: add"):
        schedules.load(path)


def test_a_product_without_end_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"parameters.renew_ns: a run of about [0-9,]+ signals, most of them by this"):
        schedules.load(edited(tmp_path, ("parameters.renew_ns", MS), ("duration_ns", DAY)))


def test_a_scope_of_nobody_is_taken_where_it_is_meant(tmp_path: Path) -> None:
    path = edited(tmp_path, (f"{HARD}.action.scope", ["agent", "acme/77"]), (f"{HARD}.action.allow_empty", True))
    assert schedules.load(path).timeline[0].action != short(*TIMELINE).timeline[0].action
