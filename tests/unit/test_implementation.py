"""Finding an implementation by its name: ours, a planted bug, or somebody else's; and what a planted bug does to the core, and for how long."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from harness import planted
from harness.planted.bug import BugMisplaced, PlantedBug
from harness.shared.implementation import OURS, ImplementationUnknown, Killswitch, load
from killswitch.core import leases
from killswitch.core.keys import KeyedHash
from killswitch.core.machine import Machine, NodeConfig, Parameters
from killswitch.core.replica import orders, state

CONFIG = NodeConfig(node="replica/1", role="replica", parameters=Parameters(), replicas=("replica/1",), kill_quorum=1, quorum=1)


@pytest.fixture
def theirs(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("their_implementation")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def test_ours_makes_machines() -> None:
    ours = load(OURS)
    assert ours.name == OURS
    with ours.installed():
        machine: Machine = ours.machine(CONFIG, KeyedHash(b"secret"))
    assert machine.digest()


def test_a_planted_bug_is_an_implementation_by_its_own_name() -> None:
    assert load("B01") is planted.COLLECTION["B01"]
    assert load("B01").name == "B01"


@pytest.mark.parametrize("attribute", ["as_class", "as_object"])
def test_a_module_may_offer_a_class_or_an_object(theirs: ModuleType, attribute: str) -> None:
    setattr(theirs, attribute, Killswitch if attribute == "as_class" else Killswitch())
    assert isinstance(load(f"their_implementation:{attribute}"), Killswitch)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("B99", "no such implementation"),
        ("", "no such implementation"),
        ("no_such_module:thing", "No module named 'no_such_module'"),
        ("their_implementation:missing", "has no attribute 'missing'"),
        ("their_implementation:half", "lacks machine, installed"),
        (":x", "cannot load"),
    ],
)
def test_what_cannot_be_played_is_refused_with_the_reason(theirs: ModuleType, name: str, why: str) -> None:
    theirs.half = type("Half", (), {"name": "half"})  # type: ignore[attr-defined]
    with pytest.raises(ImplementationUnknown, match="--implementation: ") as refused:
        load(name)
    assert why in str(refused.value)


def test_a_module_that_breaks_as_it_is_loaded_is_refused_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "breaks_on_import.py").write_text("raise ZeroDivisionError('in the module')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ImplementationUnknown, match="in the module"):
        load("breaks_on_import:thing")


def test_a_bug_is_in_force_inside_and_nowhere_else_and_counts_how_often_it_was_reached() -> None:
    original = leases.until
    bug = PlantedBug("X1", "a mistake", {"leases:until": lambda round_, now_ns: 7})
    with bug.installed():
        assert leases.until(leases.Round(0), 0) == 7
    assert leases.until is original
    assert bug.calls == {"leases:until": 1}


def test_a_function_is_replaced_wherever_the_core_imported_it_from_the_module_that_defines_it() -> None:
    original = state.is_stopped
    with PlantedBug("X1", "a mistake", {"replica.state:is_stopped": lambda *_: True}).installed():
        assert vars(orders)["is_stopped"] is state.is_stopped
        assert state.is_stopped is not original
    assert vars(orders)["is_stopped"] is state.is_stopped is original


def test_a_function_is_replaced_in_one_module_alone_if_that_only_imported_it() -> None:
    original = state.is_stopped
    with PlantedBug("X1", "a mistake", {"replica.orders:is_stopped": lambda *_: True}).installed():
        assert state.is_stopped is original
        assert vars(orders)["is_stopped"] is not original
    assert vars(orders)["is_stopped"] is original


def test_a_bug_is_taken_back_whatever_happens() -> None:
    original = leases.until
    bug = PlantedBug("X1", "a mistake", {"leases:until": lambda round_, now_ns: 7})
    with pytest.raises(KeyError), bug.installed():
        raise KeyError
    assert leases.until is original


def test_a_bug_whose_place_is_gone_says_so_and_leaves_nothing_behind() -> None:
    original = leases.until
    bug = PlantedBug("X1", "a mistake", {"leases:until": lambda round_, now_ns: 7, "leases:no_such_function": lambda: None})
    with pytest.raises(BugMisplaced, match=r"killswitch\.core\.leases has no function no_such_function"), bug.installed():
        pytest.fail("it must not get here")
    assert leases.until is original


def test_no_planted_bug_hides_another_of_its_name() -> None:
    assert len(planted.COLLECTION) == sum(len(family) for family in planted.FAMILIES)


def test_planted_bugs_stand_in_order_of_their_numbers() -> None:
    place = {name: at for at, name in enumerate(planted.COLLECTION)}
    assert place["B01"] < place["B28"] < place["B28b"] < place["B29"] < place["B103"] < place["C01"]
    for family in planted.FAMILIES:
        assert list(family) == sorted(family, key=lambda bug: place[bug.name])


@pytest.mark.parametrize("name", planted.COLLECTION)
def test_every_planted_bug_finds_its_place_in_the_core(name: str) -> None:
    bug = planted.COLLECTION[name]
    assert bug.name == name
    assert bug.mistake
    assert bug.is_control is (not bug.caught_by)
    with bug.installed():
        pass


@pytest.mark.parametrize("raised", ["SystemExit(0)", "GeneratorExit()", "RecursionError('deep')"])
def test_a_module_that_would_end_the_process_is_refused_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: str) -> None:
    (tmp_path / "leaves_on_import.py").write_text(f"raise {raised}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ImplementationUnknown, match=raised.partition("(")[0]):
        load("leaves_on_import:thing")


def test_a_class_that_cannot_be_made_is_refused(theirs: ModuleType) -> None:
    def leave(self: object) -> None:
        raise SystemExit(0)

    theirs.broken = type("Broken", (), {"__init__": leave})  # type: ignore[attr-defined]
    with pytest.raises(ImplementationUnknown, match="SystemExit: 0"):
        load("their_implementation:broken")


def test_what_is_there_but_cannot_be_called_is_named(theirs: ModuleType) -> None:
    theirs.inert = type("Inert", (), {"name": "inert", "machine": lambda self: None, "installed": 5})  # type: ignore[attr-defined]
    with pytest.raises(ImplementationUnknown, match="installed of 'their_implementation:inert' cannot be called"):
        load("their_implementation:inert")


@pytest.mark.parametrize("name", [":x", "..:x", "os:", "a..b:x", "os:path:join", "1:2"])
def test_a_name_that_is_no_module_and_object_is_refused_before_anything_is_loaded(name: str) -> None:
    with pytest.raises(ImplementationUnknown, match="not two dotted names"):
        load(name)
