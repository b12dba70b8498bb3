"""Faults of keys: the people with the root keys sign a change, and hand it to replicas.

Owns the handing over. Each replica is told over a connection of its own, whatever its links let pass, as by people who come to it. What it makes of
that is measured twice: in its trace, and in its log on the disk, read from outside.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec

from harness.live import refold
from harness.live.cell import PROBE
from harness.live.errand import tell
from harness.live.injections.family import BOOT_S, Attestation, Stage, becomes
from harness.shared.root_keys import FIRST
from killswitch.core.events import Append
from killswitch.core.keychanges import KeyChange
from killswitch.core.keysets import KEYSET
from killswitch.live.credentials import Credentials
from scenarios.faults.keys import EVERY_REPLICA
from scenarios.schedule import Entry, Fault

AGAIN_S = 0.2
MEASURED = "the version in each replica's trace, and in its log on the disk, read from outside"


class KeysChange:
    """A change of the keyset, handed to ``targets``. A replica that is down is told when it is back. ``sign``: has the next of the chain signed."""

    def __init__(self, stage: Stage, entry: Entry, fault: Fault, sign: Callable[[Stage], None]) -> None:
        self.stage = stage
        self.sign = sign
        self.name = entry.id
        self.targets = fault.targets
        self.version = 0
        self.before: dict[str, int] = {}
        self.told: dict[str, bool] = {}

    async def on(self) -> None:
        self.before = {node: self._on_disk(node) for node in self.targets}
        self.sign(self.stage)
        self.version = self.stage.roots.version
        self.told = dict(zip(self.targets, await asyncio.gather(*map(self._tell, self.targets)), strict=True))

    async def attest(self) -> Attestation | None:
        """Of those that could be told at once."""
        return await self._measured([node for node, told in self.told.items() if told])

    async def off(self) -> None:
        """What was signed stays signed."""

    async def aftermath(self) -> Attestation | None:
        """Whoever was down is told again and again, until the end of the time for faults and as long as a boot takes."""
        late = [node for node, told in self.told.items() if not told]
        if not late:
            return None
        await asyncio.gather(*map(self._tell_later, late))
        return await self._measured(late)

    async def _measured(self, told: list[str]) -> Attestation:
        seen = {node: await becomes(self._holds, node, within_s=BOOT_S) for node in told}
        measured: dict[str, int | str] = {"version": self.version, "without_process": len(self.targets) - len(told)}
        measured |= {f"{node} had": self.before[node] for node in told}
        measured |= {f"{node} has": self._on_disk(node) for node in told}
        return Attestation(all(seen.values()), MEASURED, measured, fired=any(seen.values()))

    async def _tell(self, node: str) -> bool:
        cell = self.stage.cell
        assert cell.probe is not None, "every run has a probe"
        deployment = cell.deployments[node]
        news = self.stage.roots.news
        seals = cell.seals(node, PROBE)  # with the replica's keys, which are all
        return self.stage.fleet.runs(node) and await tell(deployment.port, node, deployment.cell, PROBE, Credentials(cell.probe), seals, news)

    async def _tell_later(self, node: str) -> None:
        loop = asyncio.get_running_loop()
        deadline = 0.0
        while not await self._tell(node) and not (deadline and loop.time() > deadline):
            if self.stage.healing.begun and not deadline:
                deadline = loop.time() + BOOT_S
            await asyncio.sleep(AGAIN_S)

    def _holds(self, node: str) -> bool:
        return self._in_trace(node) >= self.version <= self._on_disk(node)

    def _in_trace(self, node: str) -> int:
        """The version of the last change that the node has put on record."""
        self.stage.sight.look()
        steps = (step for life in self.stage.sight.nodes[node].lives for step in life)
        records = (effect.record for step in steps for effect in step.effects if isinstance(effect, Append))
        return max((version_of(record.body) for record in records if record.kind == KEYSET), default=1)

    def _on_disk(self, node: str) -> int:
        log = Path(self.stage.cell.deployments[node].directory) / "log.db"
        return max((version_of(record.body) for record in refold.on_disk(log) if record.kind == KEYSET), default=1)


def rotate_keys(stage: Stage, entry: Entry, fault: Fault) -> KeysChange:
    """Every replica has a new key for orders, or a person one beside the old."""
    whose = str(fault.settings.get("whose", EVERY_REPLICA))
    replicas = sorted(node for node, deployment in stage.cell.deployments.items() if deployment.config.role == "replica")
    return KeysChange(stage, entry, fault, lambda stage: stage.roots.rotate(replicas if whose == EVERY_REPLICA else (whose,)))


def revoke_key(stage: Stage, entry: Entry, fault: Fault) -> KeysChange:
    """A key permits nothing any more: a person's, the first agent's sidecar's, or the one under the latest order that anybody has learned."""
    key = str(fault.settings.get("key", "issuer"))
    found = {"issuer": issuer, "sidecar": first_sidecar}.get(key, lambda _stage: key)
    return KeysChange(stage, entry, fault, lambda stage: stage.roots.revoke(found(stage)))


def first_sidecar(stage: Stage) -> str:
    return min(node for node, deployment in stage.cell.deployments.items() if deployment.config.role == "sidecar")


def issuer(stage: Stage) -> str:
    """Whose key is under the latest order that anybody has learned."""
    stage.sight.look()
    learned = [
        (step.at_ns, str(msgspec.msgpack.decode(effect.record.body)["signer"]))
        for sight in stage.sight.nodes.values() for life in sight.lives for step in life for effect in step.effects
        if isinstance(effect, Append) and effect.record.kind in ("ORDER_LEARNED", "ORDER_ACCEPTED")
    ]  # fmt: skip
    return max(learned, default=(0, FIRST))[1]


def version_of(body: bytes) -> int:
    """Of the keyset that a record of a change made."""
    return msgspec.msgpack.decode(msgspec.msgpack.decode(body)["raw"], type=KeyChange).version
