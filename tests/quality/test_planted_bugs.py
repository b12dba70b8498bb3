"""The power of the harness: the first ten planted bugs are found by an invariant that is expected to, the controls are left alone, and what no
checker of a single run can see, a second play or S27 does.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import pytest

from harness import hunt, planted, twice
from harness.planted.bug import PlantedBug
from harness.shared.implementation import load as load_implementation
from harness.single import simulate
from harness.verdict import Verdict
from harness.version import version
from killswitch.core import build
from killswitch.core.events import Effect, Input, Receive, SetTimer
from killswitch.core.keys import Signer
from killswitch.core.machine import Machine, NodeConfig
from scenarios import load
from scenarios.draw import draw
from tests.live.schedules import short

FIRST_TEN = tuple(f"B{number:02}" for number in range(1, 11))
CONTROLS = tuple(name for name, bug in planted.COLLECTION.items() if bug.is_control)
SEEDS = 3  # `haltproof bugs` plays more of them, of the whole collection


@pytest.mark.slow
def test_the_first_ten_are_reached_and_found_as_expected_and_no_control_is_flagged() -> None:
    """One test, for one hunt: it is the dearest thing here."""
    catches = {catch.bug: catch for catch in hunt.hunt((*FIRST_TEN, *CONTROLS), SEEDS, jobs=2).catches}
    assert {name: catch.status for name, catch in catches.items()} == {**dict.fromkeys(FIRST_TEN, "found"), **dict.fromkeys(CONTROLS, "clean")}
    for name in FIRST_TEN:
        finds = [sighting for sighting in catches[name].sightings if set(sighting.seeds) & set(catches[name].expected)]
        assert finds, name
        assert all(sighting.reached and sighting.token.endswith(f":{name}") for sighting in finds)
    for name in CONTROLS:
        assert any(sighting.reached for sighting in catches[name].sightings), name
        assert {sighting.played for sighting in catches[name].sightings} == {SEEDS}


def test_a_matrix_is_sound_only_if_every_bug_is_found_and_every_control_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    harmless = PlantedBug("X1", "none at all", {}, caught_by=("S1",), scenarios=("isolate-then-soft",))
    monkeypatch.setitem(planted.COLLECTION, "X1", harmless)
    guilty = PlantedBug("X2", "a bug that calls itself a control", planted.COLLECTION["B08"].replaces, scenarios=("isolate-then-soft",))
    monkeypatch.setitem(planted.COLLECTION, "X2", guilty)
    clumsy = PlantedBug("X3", "a replacement that itself raises", {"intent:join": lambda one, other: 1 // 0}, ("S3",), ("isolate-then-soft",))
    monkeypatch.setitem(planted.COLLECTION, "X3", clumsy)
    found = hunt.hunt(("X1", "X2", "X3"), 2, jobs=1)
    assert {catch.bug: catch.status for catch in found.catches} == {"X1": "missed", "X2": "false alarm", "X3": "broken"}
    assert not found.catches[0].sightings[0].reached
    assert not hunt.is_sound(found)


# -- what one run cannot show


class Wavering:
    """A machine that asks its hash seed how often to ring: the kind of mistake that an iteration over a set makes."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.digest = machine.digest

    def step(self, event: Input, now_ns: int) -> list[Effect]:
        effects = self._machine.step(event, now_ns)
        order = sorted(("north", "south", "east", "west"), key=hash)
        return [*effects, SetTimer(f"wavering/{order[0]}", now_ns + 1 + order.index("north"))] if isinstance(event, Receive) else effects


class Raising:
    """A machine that trips over the fifth message."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._messages = 0
        self.digest = machine.digest

    def step(self, event: Input, now_ns: int) -> list[Effect]:
        self._messages += isinstance(event, Receive)
        if self._messages == 5:
            raise ZeroDivisionError("tripped")
        return self._machine.step(event, now_ns)


class Wrapped:
    """Our implementation with every machine of one role wrapped."""

    def __init__(self, name: str, role: str, wrapper: type[Wavering | Raising]) -> None:
        self.name = name
        self._role = role
        self._wrapper = wrapper

    def machine(self, config: NodeConfig, signer: Signer) -> Machine:
        ours = build.machine(config, signer)
        return self._wrapper(ours) if config.role == self._role else ours

    def installed(self) -> AbstractContextManager[None]:
        return nullcontext()


WAVERING = Wrapped("wavering", "replica", Wavering)
RAISING = Wrapped("raising", "sidecar", Raising)


def test_hidden_nondeterminism_is_located_at_its_first_step(tmp_path: Path) -> None:
    digest, divergence = twice.play_twice(short(), "tests.quality.test_planted_bugs:WAVERING", tmp_path)
    assert len(digest) == 32
    assert divergence is not None
    assert divergence.what == "step"
    assert "wavering/" in divergence.first + divergence.second
    assert divergence.first != divergence.second


def test_our_own_implementation_is_the_same_twice(tmp_path: Path) -> None:
    schedule = draw(load.load(load.find("swarm-storm")), 5, version())
    digest, divergence = twice.play_twice(schedule, "killswitch", tmp_path)
    assert divergence is None
    assert simulate(schedule, load_implementation("killswitch")).result.digest == digest


def test_an_implementation_whose_step_raises_is_caught_by_s27() -> None:
    result = simulate(short(), RAISING).result
    (s27,) = [finding for finding in result.findings if finding.invariant == "S27"]
    assert s27.verdict is Verdict.INVALID
    assert "ZeroDivisionError: tripped (on Receive)" in s27.why
    assert result.verdict is Verdict.INVALID
