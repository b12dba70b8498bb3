"""The cell that a live run plays: who its nodes are, which links join them, and where each listens.

Owns the plan: deployment records, keys, ports and routes, all from a schedule. Must not know processes, faults or time. A link is
directed; a route says through which proxy it runs and in which direction of that proxy.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct, structs

from harness.live import clock_port, conduct_port, log_port, pace_port, wall_port
from harness.live.clock_port import BentClock
from harness.live.conduct_port import ConductSwitch
from harness.live.log_port import DiskSwitch
from harness.live.pace_port import PaceSwitch
from harness.live.ports import free_port
from harness.live.toxiproxy import DOWNSTREAM, UPSTREAM
from harness.live.wall_port import WallSwitch
from harness.shared.doubles import COPY
from harness.shared.root_keys import successor
from killswitch.core.keys import ROOTS, Ed25519
from killswitch.core.machine import NodeConfig
from killswitch.live.clock import Clock, NodeClock
from killswitch.live.credentials import Credentials, Files
from killswitch.live.log import RELEASED_BYTES
from killswitch.live.node import Deployment
from killswitch.live.pki import Pki, sealing_file
from killswitch.live.sealing import Sealing, Seals
from scenarios.deploy import OPERATOR, configurations, host_of
from scenarios.faults import FAULTS, Aim
from scenarios.faults.keys import PEOPLE
from scenarios.schedule import Fault, Schedule

Link = tuple[str, str]

PROBE = "operator/probe"  # whom the harness is when it measures a path: somebody who may connect, and says nothing
KEY_FAULTS = ("rotate-keys", "revoke-key")
CERTIFIED = datetime.timedelta(days=75 * 365)  # and as long before: wall clocks are moved by decades, and X.509 knows no year before 1950


class Conduit(Struct, frozen=True):
    """The way from ``client`` to ``server``: a proxy ``name`` at ``port``, in front of ``behind``: the server or, if there is one, the relay."""

    name: str
    client: str
    server: str
    port: int
    behind: int
    relay_to: int = 0


class Route(Struct, frozen=True):
    """A directed link as Toxiproxy sees it: one ``stream`` of one conduit."""

    conduit: Conduit
    stream: str


class Cell(Struct, frozen=True):
    """``deployments`` by node, agents included, though their sidecars start them; ``conduits`` by (client, server).

    ``clocks``, ``disks``, ``walls``, ``paces`` and ``conducts``: the ports of those nodes that a fault of that kind is aimed at, by node; an agent
    reads its sidecar's clock, and a clock begins anew with its host. ``small``: the directories of nodes that are small file systems of their own,
    so that they can be filled up. ``probe``: what the harness proves itself with where it measures a path. ``keys``: of everybody, for what is
    forged. ``successors``: {key: its public bytes} of those that replicas hold already, and that nobody is to believe before root keys have said
    so. ``copied``: as ``conduits``, of copies of hosts, which are laid out though they come to be only when a fault makes them.
    """

    deployments: dict[str, Deployment]
    conduits: dict[Link, Conduit]
    clocks: dict[str, BentClock] = {}
    disks: dict[str, DiskSwitch] = {}
    walls: dict[str, WallSwitch] = {}
    small: dict[str, Path] = {}
    probe: Files | None = None
    keys: dict[str, bytes] = {}
    paces: dict[str, PaceSwitch] = {}
    conducts: dict[str, ConductSwitch] = {}
    copied: dict[Link, Conduit] = {}
    successors: dict[str, bytes] = {}

    def credentials(self, node: str) -> Credentials:
        """What ``node`` proves itself with, for whoever stands in its links. Raises `OSError`."""
        files = self.deployments[node].credentials
        assert files is not None, "the plan gave it some"
        return Credentials(files)

    def seals(self, node: str, whose: str = "") -> Seals:
        """The keys of ``node``, to seal and open with in its own name or in that of ``whose``. Raises `OSError`."""
        sealing = self.deployments[node].sealing
        assert sealing is not None, "the plan gave it some"
        return Seals(sealing, whose or node)

    def clock(self, node: str) -> Clock:
        """The own clock of ``node``, as it reads it."""
        return self.clocks.get(host_of(node), self.deployments[node].clock)

    def route(self, link: Link) -> Route | None:
        """How messages over ``link`` travel; None if its ends never speak. What goes to a peer that is dialled goes over the dialled connection."""
        if link in self.conduits:
            return Route(self.conduits[link], UPSTREAM)
        if link[::-1] in self.conduits:
            return Route(self.conduits[link[::-1]], DOWNSTREAM)
        return None

    @property
    def ports(self) -> tuple[int, ...]:
        """Every port on which something of the cell listens."""
        nodes = [deployment.port for deployment in self.deployments.values()]
        return tuple(port for port in (*nodes, *(port for each in self.all_conduits for port in (each.port, each.behind))) if port)

    @property
    def all_conduits(self) -> tuple[Conduit, ...]:
        """Those of copies, too."""
        return (*self.conduits.values(), *self.copied.values())


def dialled_links(configs: dict[str, NodeConfig]) -> list[Link]:
    """Who dials whom, for good: sidecars, replicas and the operator dial replicas; sidecars and replicas dial their sinks."""
    links = []
    for node, config in configs.items():
        if config.role in ("replica", "sidecar", "operator"):
            links += [(node, replica) for replica in config.replicas if replica != node]
        if config.role in ("replica", "sidecar"):
            links += [(node, sink) for sink in config.sinks]
    return links


def relayed_links(faults: Sequence[Fault]) -> Callable[[str, str], bool]:
    """Whether a relay has to stand between a client and its server: only where a fault needs one, for each hop costs time."""
    signalled = {target for fault in faults if FAULTS[fault.what].aim is Aim.SIGNALS for target in fault.targets}
    linked = {link for fault in faults if needs_relay(fault) for link in fault.links}
    return lambda client, server: bool(signalled & {client, server} or linked & {(client, server), (server, client)})


def needs_relay(fault: Fault) -> bool:
    live = FAULTS[fault.what].live
    return fault.settings.get("shape") == "stall" or (live is not None and live.mechanism == "frame-relay")


def deployment_file(node: str, directory: Path) -> Path:
    return directory / "deployments" / f"{node.replace('/', '-')}.json"


def node_command(node: str, directory: Path, implementation: str) -> tuple[str, ...]:
    """The command that is the process of ``node``."""
    return (sys.executable, "-m", "harness.live.node", implementation, str(deployment_file(node, directory)))


def plan(schedule: Schedule, implementation: str, directory: Path, run: str, origin_ns: int) -> Cell:
    """Lay out the cell of ``run`` under ``directory``. ``origin_ns``: the boot-time clock at which node clocks read their offset."""
    configs = configurations(schedule)
    listens = {node: free_port() for node, config in configs.items() if config.role in ("replica", "sink")}
    faults = [entry.action for entry in schedule.timeline if isinstance(entry.action, Fault)]
    relayed = relayed_links(faults)
    conduits = {}
    for client, server in dialled_links(configs):
        relay_port = free_port() if relayed(client, server) else 0
        behind = relay_port or listens[server]
        conduits[client, server] = Conduit(proxy_name(client, server), client, server, free_port(), behind, listens[server] if relay_port else 0)
    spoken = [node for node, config in configs.items() if config.role != "agent"]
    pki = Pki(directory / "pki", f"{run}.haltproof", backdated=CERTIFIED)
    pki.issue((*spoken, PROBE), CERTIFIED)
    signing = (node for node, config in configs.items() if config.role in ("replica", "sidecar"))
    private, public = Ed25519.generate([*signing, *PEOPLE, *ROOTS])
    coming, successors = Ed25519.generate(key for who in (*configs, *PEOPLE) for key in later_keys(who, faults))
    private |= coming
    reserves = reserved(faults)
    deployments = {}
    for node, config in configs.items():
        holds = [key for who in (PEOPLE if node == OPERATOR else (node,)) for key in (who, *later_keys(who, faults))]
        drift = schedule.clocks.get(node)
        deployments[node] = Deployment(
            config=config,
            cell=run,
            directory=home("nodes", node, directory),
            trace=home("traces", node, directory),
            clock=NodeClock(origin_ns, drift.offset_ns, drift.drift_ppm) if drift else NodeClock(origin_ns),
            private={key: private[key] for key in holds if key in private},
            public=public,
            port=listens.get(node, 0),
            dials={server: conduit.port for (client, server), conduit in conduits.items() if client == node},
            upstream=str(directory / "upstream") if config.role in ("agent", "operator") else "",
            credentials=pki.files(node) if node in spoken else None,
            sealing=Sealing(str(sealing_file(directory / "pki", node))) if node in spoken else None,
            program=node_command(f"agent/{config.agent}", directory, implementation) if config.role == "sidecar" else (),
            slots=f"{home('nodes', f'agent/{config.agent}', directory)}/checkpoints" if config.role == "sidecar" else "",
            reserve_bytes=reserves.get(node, 0),
        )
    twins, copied = copies(cloned(faults), deployments, implementation, directory)
    deployments |= twins
    clocks = {
        node: BentClock(clock_port.page_of(node, directory), deployments[node].clock, deployments[node].clock.drift_ppm)
        for node in sorted({*aimed_at(faults, "clock-port"), *without_power(faults), *(node for node, _ in copied)})
    }  # fmt: skip
    disks = {node: DiskSwitch(log_port.page_of(node, directory)) for node in sorted(aimed_at(faults, "log-port"))}
    small = {node: Path(deployments[node].directory) for node in sorted(aimed_at(faults, "tmpfs"))}
    walls = {node: WallSwitch(wall_port.page_of(node, directory)) for node in sorted(aimed_at(faults, "wall-shim"))}
    paces = {node: PaceSwitch(pace_port.page_of(node, directory)) for node in sorted(aimed_at(faults, "pace-port"))}
    conducts = {
        node: ConductSwitch(conduct_port.page_of(node, directory), tuple(listens[sink] for sink in configs[node].sinks))
        for node in sorted(aimed_at(faults, "conduct-port"))
    }  # fmt: skip
    return Cell(deployments, conduits, clocks, disks, walls, small, pki.files(PROBE), private, paces, conducts, copied, successors)


def home(kind: str, node: str, directory: Path) -> str:
    """Where ``node`` keeps what is of that kind, in the run's directory."""
    return str(directory / kind / node.replace("/", "-"))


def proxy_name(client: str, server: str) -> str:
    """A name that is one segment of the control API's path."""
    return f"{client}~{server}".replace("/", ".")


def cloned(faults: Sequence[Fault]) -> tuple[str, ...]:
    """The sidecars whose hosts may be cloned."""
    return tuple(dict.fromkeys(fault.targets[0] for fault in faults if fault.what == "clone"))


def copies(
    sidecars: Sequence[str], originals: dict[str, Deployment], implementation: str, directory: Path
) -> tuple[dict[str, Deployment], dict[Link, Conduit]]:
    """What copies of these hosts would be told, and their paths: name, keys and credentials of the originals, in places of their own."""
    told, paths = {}, {}
    for sidecar in sidecars:
        agent = f"agent/{originals[sidecar].config.agent}"
        for node in (sidecar, agent):
            copy = node + COPY
            told[copy] = structs.replace(originals[node], directory=home("nodes", copy, directory), trace=home("traces", copy, directory))
        copy, servers = sidecar + COPY, {server: originals[server].port for server in originals[sidecar].dials}
        for server, port in servers.items():
            paths[copy, server] = Conduit(proxy_name(copy, server), copy, server, free_port(), port)
        told[copy] = structs.replace(
            told[copy],
            dials={server: paths[copy, server].port for server in servers},
            program=node_command(agent + COPY, directory, implementation),
            slots=f"{told[agent + COPY].directory}/checkpoints",
        )
    return told, paths


def without_power(faults: Sequence[Fault]) -> set[str]:
    """The nodes whose hosts lose their power: their clocks begin anew. An agent has its sidecar's."""
    return {host_of(target) for fault in faults if fault.settings.get("power") for target in fault.targets}


def later_keys(who: str, faults: Sequence[Fault]) -> tuple[str, ...]:
    """The keys that a replica or a person may be given while the run goes on, at most one by each fault of keys: nobody draws keys in a step."""
    changes = sum(fault.what in KEY_FAULTS for fault in faults)
    return tuple(successor(who, generation) for generation in range(2, changes + 2)) if who.startswith("replica/") or who in PEOPLE else ()


def reserved(faults: Sequence[Fault]) -> dict[str, int]:
    """How many bytes those nodes keep whose disks will be full but for a reserve; all others keep none."""
    full = [(target, int(fault.settings.get("reserve", 0))) for fault in faults if fault.what == "disk-full" for target in fault.targets]
    return {target: records * RELEASED_BYTES for target, records in full if records}


def aimed_at(faults: Sequence[Fault], mechanism: str) -> set[str]:
    """The nodes that faults made by ``mechanism`` are aimed at."""
    made_so = [fault for fault in faults if (live := FAULTS[fault.what].live) is not None and live.mechanism == mechanism]
    return {target for fault in made_so for target in fault.targets}
