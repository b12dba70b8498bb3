"""The commands of ``killswitch`` that make a cell and are its processes: keys and certificates, replicas, sinks, sidecars.

Owns the words of these commands, and how every command finds the cell's file and who of it is meant. Everything that they do is done elsewhere, and
imported only by the command that needs it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from killswitch.live.exits import Exit, Wrong

Config = Annotated[Path, Parameter(env_var="KILLSWITCH_CONFIG")]
Command = Annotated[str, Parameter(allow_leading_hyphen=True)]
HERE = Path("cell.yaml")


def add_to(app: App) -> None:
    """Give ``app`` the commands of this module."""
    for command in (pki, control_plane, sink, sidecar):
        app.command(command)


def pki(directory: Path, *, config: Path | None = None, valid: str = "24h", turn: str = "") -> int:
    """Make keys and certificates for everybody in a cell; with none yet, write an example cell on this machine first. Again: renew certificates.

    Three times with --turn: put a fresh key in the place of the one that bodies of a tenant's messages are sealed with, while everything runs.

    Parameters
    ----------
    directory
        The folder of the cell; its file is DIRECTORY/cell.yaml unless --config names another.
    config
        The cell's file, if it is another; that of the environment is not meant, for DIRECTORY is what was named.
    valid
        How long certificates are valid; running processes take up renewed ones by themselves.
    turn
        A tenant, or system for what replicas say to each other: the next step of a change of its sealing key. Each time give every host its files
        before the next; certificates stay.
    """
    import datetime

    from killswitch.live import config as cells
    from killswitch.live.pki import Pki

    if directory.exists() and not directory.is_dir():
        raise Wrong(f"{directory}: not a folder; name one for keys, certificates and the cell's file, which is made if it is not there")
    file = config or directory / HERE
    if not file.exists():
        directory.mkdir(parents=True, exist_ok=True)
        file.write_text(cells.EXAMPLE, "utf-8")
        sys.stdout.write(f"{file}: an example cell on this machine\n")
    loaded = cells.load(file)
    try:
        lasting = datetime.timedelta(microseconds=cells.duration_ns(valid) // 1000)
    except ValueError as error:
        raise Wrong(f"--valid: {error} (got {valid!r})") from None
    made = Pki(loaded.pki, loaded.cell.trust_domain)
    try:
        if turn:
            sys.stdout.write(f"{loaded.pki}: {turn}: {made.turn(turn, loaded.nodes)}\n")
            return Exit.DONE
        made.issue(loaded.nodes, lasting)
    except ValueError as error:
        raise Wrong(f"pki: {error}") from None
    sys.stdout.write(f"{loaded.pki}: {len(loaded.nodes)} certificates of {loaded.cell.trust_domain}, valid for {valid}\n")
    return Exit.DONE


def control_plane(*, replica: str = "", config: Config = HERE) -> int:
    """Be a replica of the control plane; without --replica all of them, each a process of its own.

    Parameters
    ----------
    replica
        Which one, by its name in the file.
    config
        The cell's file.
    """
    from killswitch.live import serving

    loaded = load(config)
    if not replica:
        return serving.all_replicas(loaded)
    among(replica, loaded.cell.replicas, "--replica")
    return serving.replica(loaded, replica)


def sink(*, sink: str = "", config: Config = HERE) -> int:
    """Be a sink: where effects take place, exactly once each for class F.

    Parameters
    ----------
    sink
        Which one, as TENANT/NAME; may be left out where there is but one.
    config
        The cell's file.
    """
    from killswitch.live import serving

    loaded = load(config)
    return serving.sink(loaded, among(sink, [f"{tenant}/{name}" for tenant, part in loaded.cell.tenants.items() for name in part.sinks], "--sink"))


def sidecar(*command: Command, agent: str = "", config: Config = HERE) -> int:
    """Guard an agent: start COMMAND once a quorum lets it, stop it when told or when nobody can be asked, kill all of it if it will not.

    Parameters
    ----------
    command
        The agent's program and its arguments, after --.
    agent
        Which one, as TENANT/NAME; may be left out where there is but one.
    config
        The cell's file.
    """
    from killswitch.live import serving

    if not command:
        raise Wrong("sidecar: a command is missing; killswitch sidecar --agent acme/a1 -- python agent.py")
    loaded = load(config)
    names = [f"{tenant}/{name}" for tenant, part in loaded.cell.tenants.items() for name in part.agents]
    return serving.sidecar(loaded, among(agent, names, "--agent"), command)


def load(config: Path) -> Any:
    """What the cell's file says. Raises `ConfigInvalid`."""
    from killswitch.live import config as cells

    return cells.load(config)


def among(name: str, names: Any, option: str) -> str:
    """The one that is meant: by its name, or because there is but one. Raises `Wrong`."""
    known = list(names)
    if not name and len(known) == 1:
        return str(known[0])
    if name not in known:
        raise Wrong(f"{option}: {'which one is meant?' if not name else f'not in the file (got {name!r});'} there are {', '.join(known) or 'none'}")
    return name
