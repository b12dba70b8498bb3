"""Every packet of some links of a run, lost or held back one at a time: what the kernel hands over, and what is decided of it.

Owns the queue of the run's own network namespace: which faults look at which ports, their counters, and the packets that wait. Must not know links
or nodes. ``python -m harness.live.packet_queue`` tries the whole of it in a namespace that is gone with the process, for `haltproof doctor`.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import socket
import subprocess
import sys
from collections.abc import Collection, Iterable

from harness.live import netfilter, own_network
from harness.live.guard import LOOPBACK, own_namespace
from harness.live.ledger import Diverted, Ledger
from harness.live.netfilter import ACCEPT, DROP, Match, Queued

ASK_S = 10.0
RECEIVE_BYTES = 8 << 20
SO_RCVBUFFORCE = 33
READ_AT_ONCE = 64
TRIAL_BY_S = 0.02


class Filter:
    """What one fault does to the packets of one link, those of ``matches``. ``seen``, ``dropped``, ``held``: how many it had a part in."""

    def __init__(self, matches: Collection[Match], luck: random.Random, *, chance: float = 0.0, by_s: float = 0.0) -> None:
        self.matches = frozenset(matches)
        self.luck = luck
        self.chance = chance
        self.by_s = by_s
        self.seen = self.dropped = self.held = 0

    def loses(self) -> bool:
        """Roll for one packet."""
        self.seen += 1
        lost = self.chance > 0 and self.luck.random() < self.chance
        self.dropped += lost
        self.held += not lost and self.by_s > 0
        return lost


class PacketQueue:
    """Queue 0 of the network namespace numbered ``network``, read by the running event loop. Raises `OSError`, `OutOfBounds`."""

    def __init__(self, run: str, network: int, ledger: Ledger) -> None:
        self._network = own_namespace(network)
        self._ledger = ledger
        self._table = f"haltproof-{run}"
        self._filters: dict[str, tuple[Filter, ...]] = {}
        self._entries: dict[str, int] = {}
        self._socket = netfilter.open_queue()
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BYTES)
        self.failure = ""  # why packets no longer come by here
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._read)

    def impose(self, fault: str, filters: Iterable[Filter]) -> None:
        """Packets of the filters' ports come by here from now on."""
        own_namespace(self._network)
        (self._entries[fault],) = self._ledger.intend(Diverted(self._network, self._table))
        self._filters[fault] = tuple(filters)
        self._divert()

    def lift(self, fault: str) -> None:
        """They no longer do, unless another fault wants them; what is held back still arrives late."""
        if self._filters.pop(fault, None) is not None:
            self._divert()
            self._ledger.settle([self._entries.pop(fault)])

    def close(self) -> None:
        """Everything passes; what was held back is lost, which TCP takes care of."""
        self._loop.remove_reader(self._socket)
        for fault in tuple(self._filters):
            self.lift(fault)
        self._socket.close()

    def _divert(self) -> None:
        netfilter.divert(self._table, [match for filters in self._filters.values() for each in filters for match in each.matches])

    def _read(self) -> None:
        for _ in range(READ_AT_ONCE):
            try:
                received = self._socket.recv(netfilter.RECEIVED_MAX)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # packets that found no room are lost, as on any full queue
                    self.failure = f"packet queue: {error}"
                return
            for packet in netfilter.packets(received):
                self._decide(packet)

    def _decide(self, packet: Queued) -> None:
        ports = {Match(packet.target, answers=False), Match(packet.source, answers=True)}
        concerned = [each for filters in self._filters.values() for each in filters if each.matches & ports]
        if sum(each.loses() for each in concerned):  # every fault rolls, so that none shifts another's luck
            self._tell(packet, DROP)
        elif by_s := sum(each.by_s for each in concerned):
            self._loop.call_later(by_s, self._tell, packet, ACCEPT)
        else:
            self._tell(packet, ACCEPT)

    def _tell(self, packet: Queued, what: int) -> None:
        if self._socket.fileno() < 0:
            return
        try:
            self._socket.send(netfilter.verdict(packet, what))
        except OSError as error:
            self.failure = f"packet queue: {error}"


# -- The trial -----------------------------------------------------------------------------------------------------------------------


def why_not() -> str:
    """Why packets cannot be queued here; empty if one was: in a namespace of its own, by a rule, to a verdict and late to where it was sent."""
    try:
        asked = subprocess.run([sys.executable, "-m", __name__], capture_output=True, text=True, timeout=ASK_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    return "" if asked.returncode == 0 else (asked.stderr.strip().splitlines() or ["packets could not be queued"])[-1]


async def _late_s() -> float:
    """How long a connection takes whose packets to its server are held back."""
    queue = netfilter.open_queue()
    loop = asyncio.get_running_loop()

    def pass_late() -> None:
        for packet in netfilter.packets(queue.recv(netfilter.RECEIVED_MAX)):
            loop.call_later(TRIAL_BY_S, queue.send, netfilter.verdict(packet, ACCEPT))

    loop.add_reader(queue, pass_late)
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), LOOPBACK, 0)
    netfilter.divert("haltproof-doctor", [Match(server.sockets[0].getsockname()[1], answers=False)])
    began = loop.time()
    reader, writer = await asyncio.wait_for(asyncio.open_connection(*server.sockets[0].getsockname()), ASK_S / 2)
    late_s = loop.time() - began
    await reader.read()
    writer.close()
    loop.remove_reader(queue)
    queue.close()
    server.close()
    return late_s


def main() -> int:
    """0 if packets are queued in a namespace of one's own; the last line on standard error says why not."""
    try:
        with own_network.entered():
            late_s = asyncio.run(_late_s())
    except (OSError, TimeoutError) as error:
        return _refused(f"{error.strerror or type(error).__name__}" + ("" if os.geteuid() == 0 else "; it takes root"))
    return 0 if late_s >= TRIAL_BY_S else _refused("the kernel took the rule, but packets pass it by")


def _refused(why: str) -> int:
    sys.stderr.write(f"{why}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
