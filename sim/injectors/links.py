"""Faults of the links between nodes: partitions, and all that makes a link worse without closing it."""

from __future__ import annotations

from functools import partial

from killswitch.core.messages import Message
from scenarios.schedule import Fault
from sim.injectors.family import Family, whole
from sim.network import Impairment
from sim.world import World


PARTITIONS = ("partition", "ring-partition", "majorities-ring")  # they differ in their links alone
IMPAIRMENTS = ("delay", "packet-delay", "loss", "packet-loss", "duplicate-messages", "reorder", "bandwidth", "slice", "cut-after")
DIALLED = ("replica", "sink")


class Links(Family):
    """Works on `sim.network`, a link at a time."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._flapping: dict[str, bool] = {}
        self.begins = {
            **dict.fromkeys(PARTITIONS, self._block), "flapping-partition": self._flap, **dict.fromkeys(IMPAIRMENTS, self._impair),
            "slow-close": self._keep_open,
        }  # fmt: skip
        self.ends = {
            **dict.fromkeys(PARTITIONS, self._unblock), "flapping-partition": self._settle, **dict.fromkeys(IMPAIRMENTS, self._mend),
            "slow-close": self._close,
        }  # fmt: skip

    def _block(self, id_: str, fault: Fault) -> None:
        for source, target in fault.links:
            self.world.network.block(source, target, id_, str(fault.settings.get("shape", "blackhole")))

    def _unblock(self, id_: str, fault: Fault) -> None:
        for source, target in fault.links:
            self.world.network.unblock(source, target, id_)

    def _flap(self, id_: str, fault: Fault) -> None:
        self._flapping[id_] = False
        self._turn((id_, fault))

    def _turn(self, ticket: tuple[str, Fault]) -> None:
        """Half a period is over: cut what is joined, join what is cut."""
        id_, fault = ticket
        if id_ not in self._flapping:
            return
        self._flapping[id_] = not self._flapping[id_]
        (self._block if self._flapping[id_] else self._unblock)(id_, fault)
        self.world.queue.at(self.world.queue.now + max(1, whole(fault, "period_ns") // 2), self._turn, ticket)

    def _settle(self, id_: str, fault: Fault) -> None:
        if self._flapping.pop(id_):
            self._unblock(id_, fault)

    def _impair(self, id_: str, fault: Fault) -> None:
        by_ns, chance = whole(fault, "by_ns"), whole(fault, "chance_ppm")
        impairment = Impairment(
            id_,
            delay_ns=by_ns if fault.what in ("delay", "packet-delay") else 0,
            loss_ppm=chance if fault.what == "loss" else 0,
            resend_ppm=chance if fault.what == "packet-loss" else 0,
            duplicate_ppm=chance if fault.what == "duplicate-messages" else 0,
            reorder_ppm=chance if fault.what == "reorder" else 0,
            reorder_ns=by_ns,
            bytes_per_s=whole(fault, "bytes_per_s"),
            piece_bytes=whole(fault, "piece_bytes"),
            pause_ns=whole(fault, "pause_ns"),
            cut_bytes=whole(fault, "cut_bytes"),
        )
        for source, target in fault.links:
            self.world.network.impair(source, target, impairment)

    def _mend(self, id_: str, fault: Fault) -> None:
        for source, target in fault.links:
            self.world.network.mend(source, target, id_)

    def _keep_open(self, id_: str, fault: Fault) -> None:
        """Who dialled goes on speaking into a connection whose other end is gone; who was dialled hears from a peer that is back at once."""
        swallows = Impairment(id_, spoils=partial(self._swallow, id_, self.world.queue.now, whole(fault, "by_ns")))
        for closing, dialling in fault.links:
            if self.world.nodes[closing].config.role in DIALLED:
                self.world.network.impair(dialling, closing, swallows)

    def _close(self, id_: str, fault: Fault) -> None:
        for closing, dialling in fault.links:
            self.world.network.mend(dialling, closing, id_)

    def _swallow(self, id_: str, since_ns: int, by_ns: int, _source: str, target: str, message: Message) -> Message | None:
        """Lost, if it is said to somebody who died not long ago."""
        node = self.world.nodes[target]
        if node.died_ns is None or node.died_ns < since_ns or self.world.queue.now >= node.died_ns + by_ns:
            return message
        if node.running:  # nobody would have heard it anyhow
            self.world.fault_fired(id_)
        return None
