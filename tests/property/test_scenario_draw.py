"""Drawing is a function: the same scenario and seed give the same bytes, and every schedule survives its own encoding.

And reading is total: whatever stands in a file, the answer is a scenario or its problems.
"""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from scenarios import document, load
from scenarios.draw import draw
from scenarios.faults import FAULTS
from scenarios.model import VERBS, Scenario
from scenarios.problems import Problem, ScenarioInvalid
from scenarios.schedule import Schedule

LIBRARY = {name: load.load(path) for name, path in load.library().items()}
KEYS = tuple(Scenario.model_fields[name].alias or name for name in Scenario.model_fields)

words = st.sampled_from(
    ("no", "5", "5s", "1s..3s", "3s..1s", "1%", "2/s", "all", "replicas", "sidecar acme/1", "acme", "none", "hard.on", "partition.on", "tenant acme",
     "order-durable", "lease.left(acme/1) < 5%", "under 3s", "x", "", "a: b")
)  # fmt: skip
scalars = st.one_of(words, st.integers(-3, 12), st.booleans(), st.none(), st.text(max_size=5))
COMMON = ("at", "after", "when", "wait", "id", "scope", "between", "nodes", "to", "for", "tenants", "acme", "replicas", "workers", "agents", "count",
          "labels", "sinks", "name", "quorum", "kill-quorum", "lease", "renew", "drift", "x")  # fmt: skip
names = st.sampled_from((*KEYS, *VERBS, *FAULTS, *COMMON))
values = st.recursive(scalars, lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(names, below, max_size=4)), max_leaves=12)
sound = {"scenario": "a", "hypothesis": "b", "topology": {"tenants": {"acme": {"workers": 1}}}}


@st.composite
def scenarios(drawing: st.DrawFn) -> Scenario:
    """A scenario of the library, or one with drawn fleet, parameters and swarm."""
    if drawing(st.booleans()):
        return LIBRARY[drawing(st.sampled_from(sorted(LIBRARY)))]
    replicas = drawing(st.integers(1, 7))
    swarm = {
        "between": "0s..9s",
        "count": drawing(st.integers(0, 20)),
        "faults": drawing(st.lists(st.sampled_from(sorted(FAULTS)), unique=True)),
        "operations": drawing(st.lists(st.sampled_from(VERBS), unique=True)),
    }
    fleet = {"workers": drawing(st.integers(1, 4)), "sinks": drawing(st.lists(st.sampled_from(("a", "b", "c")), unique=True))}
    topology = {"replicas": replicas, "tenants": {"acme": fleet, "acme2": {"workers": drawing(st.integers(0, 2))}}}
    clocks = {"drift": drawing(st.sampled_from(("none", "within", "extremal")))}
    form = {"scenario": "drawn", "hypothesis": "h", "duration": "10s", "topology": topology, "clocks": clocks, "swarm": swarm}
    return load.parse(msgspec.json.encode(form).decode())


def read(content: bytes) -> Scenario | tuple[Problem, ...]:
    try:
        return load.validate(document.parse(content, "f"))
    except ScenarioInvalid as invalid:
        return invalid.problems


@given(scenarios(), st.integers(0, 2**40))
@settings(max_examples=150, deadline=None)
def test_a_seed_always_gives_the_same_bytes_and_they_read_back(scenario: Scenario, seed: int) -> None:
    schedule = draw(scenario, seed, "1.2.3")
    encoded = schedule.encode()
    assert draw(scenario, seed, "1.2.3").encode() == encoded
    assert msgspec.json.decode(encoded, type=Schedule) == schedule
    assert (schedule.seed, schedule.version, schedule.scenario_digest) == (seed, "1.2.3", scenario.digest())


@given(scenarios(), st.integers(0, 2**40))
@settings(max_examples=150, deadline=None)
def test_everything_in_a_schedule_is_concrete_and_in_place(scenario: Scenario, seed: int) -> None:
    schedule = draw(scenario, seed, "0")
    ids = [entry.id for entry in schedule.timeline]
    assert len(ids) == len(set(ids))
    agents = {agent.agent for agent in schedule.topology.agents}
    for entry in schedule.timeline:
        trigger = entry.trigger
        assert [trigger.at_ns is not None, bool(trigger.after), trigger.when is not None].count(True) == 1
        assert trigger.at_ns is None or 0 <= trigger.at_ns <= schedule.duration_ns
        assert trigger.when is None or trigger.when[1] in agents
        assert set(getattr(entry.action, "targets", ())) <= set(schedule.clocks)
    assert all(0 <= work.at_ns < schedule.duration_ns for work in schedule.work)
    assert all(work.agent in agents and work.steps > 0 for work in schedule.work)


@given(st.dictionaries(st.sampled_from(KEYS), values, max_size=6), st.booleans())
@settings(max_examples=400, deadline=None)
def test_reading_answers_with_a_scenario_or_with_problems(content: dict[str, object], mostly_sound: bool) -> None:
    text = msgspec.json.encode({**sound, **content} if mostly_sound else content).decode()
    answer = read(text.encode())
    if isinstance(answer, Scenario):
        draw(answer, 1, "0")
        return
    assert answer
    for problem in answer:
        assert problem.remedy
        assert problem.place >= (1, 1)
        assert "\n" not in str(problem)


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_no_bytes_are_too_strange_to_be_refused(content: bytes) -> None:
    assert not isinstance(read(content), Scenario)
