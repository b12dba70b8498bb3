"""Deaths of agents as they save: one that comes as soon as the page says so is counted too."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.live.conduct_port import Conduct, ConductSwitch, page_of
from harness.live.injections.agents import DieSaving

pytestmark = pytest.mark.live

AGENT = "agent/acme/1"


class Hasty(DieSaving):
    """Its agent comes to a checkpoint before anybody looks; a trace is not what this is about."""

    async def begin(self) -> None:
        assert Conduct(self.switches[AGENT].path).is_last("written")
        await super().begin()

    async def _died_saving(self, node: str) -> bool:
        return True


def test_a_death_between_the_order_and_the_first_look_is_seen(tmp_path: Path) -> None:
    switch = ConductSwitch(page_of(AGENT, tmp_path), ())
    stage: Any = SimpleNamespace(
        cell=SimpleNamespace(conducts={AGENT: switch}),
        directory=tmp_path,
        ledger=SimpleNamespace(intend=lambda *files: ()),
        healing=SimpleNamespace(begun=False),
    )
    entry: Any = SimpleNamespace(id="dies")
    fault: Any = SimpleNamespace(for_ns=100_000_000, targets=(AGENT,), settings={"after": "written", "power": 0})

    async def scene() -> None:
        injection = Hasty(stage, entry, fault)
        await injection.on()
        attested = await injection.attest()
        assert attested is not None and attested.fired

    asyncio.run(scene())
