"""The paths between nodes while a run goes on: who holds which conduit down or slow, and what a probe through it measures.

Owns the proxies and relays of the run. Several faults may hold one conduit at once; it is as it was only when the last lets go. The control
API is called one change at a time for each conduit, off the event loop, so that a server that hangs delays nobody's deadlines.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from harness.live import own_network
from harness.live.cell import Cell, Conduit
from harness.live.guard import LOOPBACK
from harness.live.ledger import Impaired, Ledger
from harness.live.probe import Measured, Outcome, probe
from harness.live.relay import Relay
from harness.live.toxiproxy import NotAsAsked, ProxyState, Toxic, Toxiproxy
from killswitch.live.credentials import Credentials

BASELINE_S = 5.0  # until a path answers for the first time, while servers come up within moments of each other
BASELINE_EACH_S = 0.1  # and so much for each path of the cell: a hundred agents start on the same cores
NAMED = 8  # of the paths that never answered
PROBES = 2


class PathFailed(Exception):
    """A path does not work though nothing holds it."""


class Paths:
    """All conduits of a cell, through the server that ``toxiproxy`` controls."""

    def __init__(self, cell: Cell, toxiproxy: Toxiproxy, ledger: Ledger) -> None:
        self._toxiproxy = toxiproxy
        self._ledger = ledger
        self._entries: dict[tuple[str, str], int] = {}  # of the ledger, by proxy and by who holds it
        self._conduits = {conduit.name: conduit for conduit in cell.all_conduits}
        self._locks = {name: asyncio.Lock() for name in self._conduits}
        self._cuts: dict[str, set[str]] = {name: set() for name in self._conduits}
        self._changes: Counter[str] = Counter()  # of each conduit, so that a probe knows whether it met one
        self._toxics: dict[str, dict[str, Toxic]] = {name: {} for name in self._conduits}
        self._relays = {each.name: relay_in(cell, each) for each in self._conduits.values() if each.relay_to}
        self._held_s = dict.fromkeys(self._conduits, 0.0)  # what single packets may make a probe wait, besides its deadline
        self._own = Credentials(cell.probe) if cell.probe else None

    async def open(self) -> None:
        """Make every proxy and relay. Raises `ToxiproxyFailed` or `OSError`."""
        for relay in self._relays.values():
            await relay.open()
        for conduit in self._conduits.values():
            listen, behind = f"{LOOPBACK}:{conduit.port}", f"{LOOPBACK}:{conduit.behind}"
            await asyncio.to_thread(self._toxiproxy.create, conduit.name, listen, behind)

    async def prove(self) -> None:
        """An echo through every conduit, before any fault. Raises `PathFailed`: a partition of what never worked would prove nothing."""
        deadline = asyncio.get_running_loop().time() + BASELINE_S + BASELINE_EACH_S * len(self._conduits)
        answers = await asyncio.gather(*(self._first_echo(conduit, deadline) for conduit in self._conduits.values()))
        broken = [conduit.name for conduit, answer in zip(self._conduits.values(), answers, strict=True) if answer.outcome is not Outcome.ECHOED]
        if broken:
            more = f" and {len(broken) - NAMED} more" if len(broken) > NAMED else ""
            raise PathFailed(f"no echo before any fault: {', '.join(broken[:NAMED])}{more}")

    async def cut(self, conduit: Conduit, fault: str) -> None:
        """Down for ``fault``: connections end, new ones are refused."""
        async with self._locks[conduit.name]:
            self._cuts[conduit.name].add(fault)
            self._intend(conduit, (fault, (), True))
            await self._change(conduit, self._toxiproxy.cut)

    async def uncut(self, conduit: Conduit, fault: str) -> None:
        async with self._locks[conduit.name]:
            self._cuts[conduit.name].discard(fault)
            if not self._cuts[conduit.name]:
                await self._change(conduit, self._toxiproxy.restore)
            self._settle(conduit, fault)

    async def poison(self, conduit: Conduit, *toxics: Toxic) -> None:
        """Put toxics in force; their names tell which fault holds them."""
        async with self._locks[conduit.name]:
            self._toxics[conduit.name].update({toxic.name: toxic for toxic in toxics})
            self._intend(conduit, *((toxic.name, (toxic.name,), False) for toxic in toxics))
            await self._change(conduit, lambda name: self._toxiproxy.add(name, *toxics))

    async def cure(self, conduit: Conduit, *names: str) -> None:
        async with self._locks[conduit.name]:
            for name in names:
                self._toxics[conduit.name].pop(name, None)
            await self._change(conduit, lambda proxy: self._toxiproxy.remove(proxy, *names))
            self._settle(conduit, *names)

    async def read_back(self, conduit: Conduit) -> bool:
        """Whether the server has exactly what all faults together ask for. Raises `ToxiproxyFailed`."""
        async with self._locks[conduit.name]:
            return await self._agrees(conduit)

    def is_cut(self, conduit: Conduit) -> bool:
        return bool(self._cuts[conduit.name])

    def added_ms(self, conduit: Conduit) -> int:
        """Latency that the toxics in force add to a round trip."""
        return sum(toxic.value for toxic in self._toxics[conduit.name].values() if toxic.kind == "latency")

    def is_silent(self, conduit: Conduit) -> bool:
        """Whether a black hole or a stall keeps an echo from coming back."""
        relay = self._relays.get(conduit.name)
        stalls = relay is not None and any(way.stalls for way in relay.ways.values())
        return stalls or self._has(conduit, "timeout")

    def is_reset(self, conduit: Conduit) -> bool:
        """Whether a connection is reset as soon as something is said."""
        return self._has(conduit, "reset_peer")

    def closes_late(self, conduit: Conduit) -> bool:
        """Whether the end of a connection, a reset too, comes late to the other side."""
        return self._has(conduit, "slow_close")

    def is_blocked(self, conduit: Conduit) -> bool:
        """Whether some fault keeps echoes from coming back, for as long as it is on."""
        return self.is_cut(conduit) or self.is_silent(conduit) or self.is_reset(conduit)

    def hold(self, conduit: Conduit, longer_s: float) -> None:
        """Packets on the way wait or are lost, so that a probe may take so much longer; negative: no more."""
        self._held_s[conduit.name] += longer_s

    def _has(self, conduit: Conduit, kind: str) -> bool:
        return any(toxic.kind == kind for toxic in self._toxics[conduit.name].values())

    async def measure(self, conduit: Conduit, deadline_s: float, load_bytes: int = 8) -> Measured:
        """What becomes of a probe; of another one, if some fault changed the path meanwhile, which takes a proxy down for a moment."""
        for _ in range(PROBES):
            async with self._locks[conduit.name]:
                changes = self._changes[conduit.name]
            answer = await self._probe(conduit, deadline_s, load_bytes)
            if self._changes[conduit.name] == changes:
                return answer
        return await self._probe(conduit, deadline_s, load_bytes)

    def relay(self, conduit: Conduit) -> Relay | None:
        return self._relays.get(conduit.name)

    async def close(self) -> None:
        for relay in self._relays.values():
            await relay.close()

    def _intend(self, conduit: Conduit, *holds: tuple[str, tuple[str, ...], bool]) -> None:
        """On disk before it is done: who holds the proxy, by which toxics, and whether down."""
        at = (self._toxiproxy.host, self._toxiproxy.port, conduit.name)
        entries = self._ledger.intend(*(Impaired(*at, toxics, cut, own_network.own()) for _, toxics, cut in holds))
        self._entries.update({(conduit.name, holder): entry for (holder, _, _), entry in zip(holds, entries, strict=True)})

    def _settle(self, conduit: Conduit, *holders: str) -> None:
        held = [key for holder in holders if (key := (conduit.name, holder)) in self._entries]
        self._ledger.settle([self._entries.pop(key) for key in held])

    async def _agrees(self, conduit: Conduit) -> bool:
        state = await asyncio.to_thread(self._toxiproxy.state, conduit.name)
        return state.enabled == (not self._cuts[conduit.name]) and state.toxics == tuple(sorted(self._toxics[conduit.name].values()))

    async def _change(self, conduit: Conduit, change: Callable[[str], ProxyState]) -> None:
        self._changes[conduit.name] += 1
        await asyncio.to_thread(change, conduit.name)
        if not await self._agrees(conduit):
            raise NotAsAsked(f"{conduit.name}: what is in force differs from what the faults ask for")

    async def _probe(self, conduit: Conduit, deadline_s: float, load_bytes: int) -> Measured:
        return await probe(conduit.port, deadline_s + self._held_s[conduit.name], load_bytes, self._own)

    async def _first_echo(self, conduit: Conduit, deadline: float) -> Measured:
        """Ask until it answers."""
        while True:
            answer = await self.measure(conduit, BASELINE_S)
            if answer.outcome is Outcome.ECHOED or asyncio.get_running_loop().time() > deadline:
                return answer
            await asyncio.sleep(0.02)


def relay_in(cell: Cell, conduit: Conduit) -> Relay:
    """The relay of a conduit, with all that its two ends prove themselves and seal with."""
    ends = (conduit.client, conduit.server)
    proofs, seals = (cell.credentials(ends[0]), cell.credentials(ends[1])), (cell.seals(ends[0]), cell.seals(ends[1]))
    return Relay(conduit.behind, conduit.relay_to, *ends, proofs, seals)
