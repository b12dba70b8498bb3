"""What a trace is worth: it replays to the same effects or is found out, and its log folds to the state that the process was in."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from harness.live import refold
from harness.live.cell import plan
from killswitch.core import build
from killswitch.core.events import Append, Boot, Input, Receive, Timer
from killswitch.core.keys import Ed25519
from killswitch.core.machine import Machine
from killswitch.core.messages import NO_TOKEN, LeaseRequest, StartRequest, Token
from killswitch.live.log import SqliteLog
from killswitch.live.trace import Step
from tests.live.schedules import SIDECAR, short

pytestmark = pytest.mark.live


@pytest.fixture
def replica(tmp_path: Path) -> tuple[list[Step], Machine, Machine]:
    """The steps of a replica that promised a token and leased under it, and two fresh machines like it."""
    deployment = plan(short(), "killswitch", tmp_path, "run", 0).deployments["replica/1"]

    def fresh() -> Machine:
        return build.machine(deployment.config, Ed25519(deployment.private, deployment.public))

    machine, token = fresh(), Token(1, 1, "x")
    events: list[Input] = [
        Boot((), "boot", "instance"),
        Receive(SIDECAR, StartRequest("acme/1", token, "")),
        Receive(SIDECAR, LeaseRequest("acme/1", token, "nonce", "", 5, "BOOT")),
        Timer("gossip"),
    ]
    life = [Step(number, number * 1000, event, machine.step(event, number * 1000)) for number, event in enumerate(events)]
    assert any(isinstance(effect, Append) for step in life[1:] for effect in step.effects)
    return life, fresh(), fresh()


def test_a_true_trace_replays_and_folds(replica: tuple[list[Step], Machine, Machine], tmp_path: Path) -> None:
    life, machine, folded = replica
    assert refold.replay(life, machine) == ""
    log = SqliteLog(tmp_path / "log.db")
    log.append(refold.written(life)[:-1])  # the last record was on its way to the disk when the process ended
    log.close()
    body = refold.fold(life, machine, lambda: folded, tmp_path / "log.db")
    assert body is not None
    assert body["live"] == body["folded"] != ""
    assert (body["records"], body["chain_ok"]) == (len(refold.written(life)), True)


def test_a_trace_that_says_something_else_is_found_out(replica: tuple[list[Step], Machine, Machine]) -> None:
    life, machine, _ = replica
    life[2] = msgspec.structs.replace(life[2], effects=life[2].effects[1:])
    assert refold.replay(life, machine).startswith("step 2 (Receive)")


def test_a_log_that_holds_something_else_breaks_the_chain(replica: tuple[list[Step], Machine, Machine], tmp_path: Path) -> None:
    life, machine, folded = replica
    assert refold.replay(life, machine) == ""
    records = refold.written(life)
    log = SqliteLog(tmp_path / "log.db")
    log.append([msgspec.structs.replace(records[0], clock_ns=records[0].clock_ns + 1)])
    log.close()
    body = refold.fold(life, machine, lambda: folded, tmp_path / "log.db")
    assert body is not None and body["chain_ok"] is False


def test_a_node_without_a_log_has_nothing_to_fold(tmp_path: Path) -> None:
    deployment = plan(short(), "killswitch", tmp_path, "run", 0).deployments["operator"]
    machine = build.machine(deployment.config, Ed25519(deployment.private, deployment.public))
    event = Boot((), "boot", "instance", token=NO_TOKEN)
    life = [Step(0, 0, event, machine.step(event, 0))]
    assert refold.fold(life, machine, lambda: machine, None) is None
