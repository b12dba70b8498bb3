"""A node loses power at every record of its log, one run a record, and what was promised is held all the same (S10 to S12, S15)."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from harness.checkers import check
from harness.shared.implementation import Killswitch
from harness.verdict import Verdict
from killswitch.core.events import Record
from scenarios.schedule import Schedule
from sim.disk import Disk, Loss
from sim.driver import play
from sim.node import Node
from tests.live.schedules import MS, SECOND, order, short

JUDGED = ("S4", "S8", "S9", "S10", "S11", "S12", "S15", "S16", "S23")
DOWN_NS = 150 * MS
MOST = 24  # records tried of one log, spread over all of it


def story() -> Schedule:
    """Work, a soft stop, a resume, work again, and a kill: every kind of record there is in a log of its length."""
    resumed = order("resume", 2200 * MS)
    resumed = replace(resumed, action=replace(resumed.action, approvers=("bob", "carol")))
    return short(order("soft", 1200 * MS), resumed, order("hard", 3500 * MS), duration_ns=4 * SECOND, settle_ns=3 * SECOND)


def crash_at(monkeypatch: pytest.MonkeyPatch, name: str, lsn: int, loss: Loss) -> list[int]:
    """The host of ``name`` loses power when it has appended ``lsn``, and again when that lsn is written anew, three times at most."""
    crashed: list[int] = []
    whole = Disk.append

    def append(disk: Disk, record: Record) -> None:
        whole(disk, record)
        node: Any = disk._give.__self__  # type: ignore[attr-defined]  # the node's own `take`
        if node.id == name and record.seq == lsn and len(crashed) < 3:
            crashed.append(node.world.queue.now)
            node.world.queue.at(node.world.queue.now, lose_power, node)

    def lose_power(node: Any) -> None:
        node.disk.loss = loss
        node.world.crash(node, power=True)
        restarted = node.world.sidecar_of(node) if node.config.role == "agent" else node
        node.world.queue.at(node.world.queue.now + DOWN_NS, Node.boot_up, restarted)

    monkeypatch.setattr(Disk, "append", append)
    return crashed


@pytest.mark.parametrize("loss", [Loss.SUFFIX, Loss.TORN])
@pytest.mark.parametrize("name", ["replica/1", "sidecar/acme/1", "agent/acme/1", "sink/acme/ledger"])
def test_a_power_loss_at_every_record_takes_nothing_that_was_promised(name: str, loss: Loss, monkeypatch: pytest.MonkeyPatch) -> None:
    length = len(play(story(), Killswitch()).logs[name][0])
    assert length > 5
    for lsn in range(1, length + 1, -(-length // MOST)):
        with monkeypatch.context() as patched:
            crashed = crash_at(patched, name, lsn, loss)
            run = play(story(), Killswitch())
        assert crashed, lsn
        broken = [(finding.invariant, finding.why) for finding in check(run.history, JUDGED) if finding.verdict is not Verdict.VALID]
        assert broken == [], (lsn, broken)
