"""The file that describes a cell: who is in it, where each listens, who may do what. One file, the same for every node and every person.

Owns the file's form, its problems (all of them at once, each with its place), and what follows from it for one node: deployment record, keys
and credentials. Must not know processes. The file holds no secret; those lie in the folder that ``pki`` names.
"""

from __future__ import annotations

import re
import typing
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import CollectionEndEvent, CollectionStartEvent

from killswitch import files
from killswitch.core import build, policy
from killswitch.core.keys import APPROVER, CONTROL_PLANE, EVERY_TENANT, OPERATOR, SIDECAR, Grant, Keyset, Signer
from killswitch.core.machine import Machine, NodeConfig, Parameters
from killswitch.live import pki, references, spiffe, telemetry
from killswitch.live.log import RESERVE_BYTES
from killswitch.live.meant import meant
from killswitch.live.node import Deployment
from killswitch.live.sealing import Sealing

AUDITOR: Final = "auditor"
BYTES_MAX: Final = 1 << 20
DEPTH_MAX: Final = 16
UNITS: Final = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


class ConfigInvalid(Exception):
    """What is wrong with a file; ``problems`` each read ``file:line:column: field: problem``."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def duration_ns(text: Any) -> int:
    """``30s``, ``250ms``, ``5m`` or ``1h`` in ns. Raises `ValueError`."""
    found = re.fullmatch(r"(\d{1,9})(ms|s|m|h)", text) if isinstance(text, str) else None
    if found is None:
        raise ValueError("not a duration such as 30s, 250ms, 5m or 1h")
    return int(found[1]) * UNITS[found[2]]


def _percent_ppm(text: Any) -> int:
    found = re.fullmatch(r"(\d{1,2})(?:\.(\d{1,4}))?%", text) if isinstance(text, str) else None
    if found is None:
        raise ValueError("not a percentage such as 1% or 0.5%")
    return int(found[1]) * 10_000 + int((found[2] or "").ljust(4, "0"))


def _address(text: Any) -> str:
    """HOST:PORT; an IPv6 host stands in brackets."""
    host, _, port = text.rpartition(":") if isinstance(text, str) else ("", "", "")
    if not host.strip("[]") or not (port.isascii() and port.isdigit()):
        raise ValueError('not an address such as "127.0.0.1:7101": a host, a colon and a port')
    if not 0 < int(port[:6]) < 1 << 16:
        raise ValueError("no such port: they go from 1 to 65535")
    return f"{host}:{port}"


def _word(text: Any) -> str:
    text = str(text) if isinstance(text, int) and not isinstance(text, bool) else text
    if not isinstance(text, str) or not spiffe.WORD.fullmatch(text) or not text.strip("."):
        raise ValueError("not a name: letters, digits, dots, dashes and underscores, 64 at most")
    return text


Ns = Annotated[int, BeforeValidator(duration_ns)]
Ppm = Annotated[int, BeforeValidator(_percent_ppm)]
Address = Annotated[str, BeforeValidator(_address)]
Word = Annotated[str, BeforeValidator(_word)]
Quorum = Annotated[int, Field(strict=True)]


class Part(BaseModel):
    """What the file may hold at one place, and nothing else: a setting with a slip in its name must not be a setting left out."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=lambda name: name.replace("_", "-"), populate_by_name=False)


class ReplicaPart(Part):
    """Where other nodes and where people reach a replica."""

    listen: Address
    api: Address


class SinkPart(Part):
    """A sink and its class (protocol 4)."""

    kind: Literal["F", "C", "U"] = Field("F", alias="class")
    listen: Address


class AgentPart(Part):
    """An agent. ``labels``: ``key=value``, for orders by label. ``restart``: what its sidecar does when it ends and nobody stopped it."""

    labels: tuple[str, ...] = ()
    sinks: tuple[Word, ...] = ()
    restart: Literal["always", "never"] = "always"


class TenantPart(Part):
    """A tenant's agents and sinks, by name."""

    agents: dict[Word, AgentPart] = {}
    sinks: dict[Word, SinkPart] = {}


class PersonPart(Part):
    """What somebody may do, and for which tenants (``*``: all)."""

    roles: tuple[Literal["operator", "approver", "auditor"], ...]
    tenants: tuple[str, ...]


class TimesPart(Part):
    """The protocol's parameters (protocol 2)."""

    lease: Ns = Parameters().lease_ns
    renew: Ns = Parameters().renew_ns
    grace: Ns = Parameters().grace_ns
    grace_max: Ns = Parameters().grace_max_ns
    challenge: Ns = Parameters().challenge_ns
    drift: Ppm = Parameters().drift_ppm
    slack: Ns = Parameters().slack_ns
    stop_timeout: Ns = Parameters().stop_timeout_ns
    approvals: Annotated[int, Field(ge=1, le=16)] = Parameters().approvals

    @model_validator(mode="after")
    def _leases_hold(self) -> TimesPart:
        if self.renew * (1_000_000 + self.drift) >= self.lease * (1_000_000 - self.drift):
            raise ValueError("renew: has to be shorter than lease by more than the drift, or no lease ever holds")
        return self


class Cell(Part):
    """The whole file. ``kill_quorum`` and ``quorum`` are k and q; majorities if left out. Paths are relative to the file. ``sealed_bodies`` allowed:
    for the days in which nodes of an earlier version are there, who cannot read sealed ones."""

    cell: Word
    trust_domain: Annotated[str, Field(pattern=spiffe.DOMAIN.pattern)]
    pki: Path = Path("pki")
    state: Path = Path("state")
    policy: Path | None = None
    sealed_bodies: Literal["required", "allowed"] = "required"
    times: TimesPart = TimesPart()
    kill_quorum: Quorum | None = None
    quorum: Quorum | None = None
    replicas: dict[Word, ReplicaPart] = Field(min_length=1)
    tenants: dict[Word, TenantPart] = {}
    people: dict[Word, PersonPart] = {}

    def quorums(self) -> tuple[int, int]:
        """(k, q)."""
        majority = len(self.replicas) // 2 + 1
        return (self.kill_quorum or majority, self.quorum or majority)


class Loaded:
    """A valid file, and what follows from it."""

    def __init__(self, file: Path, cell: Cell, policy_text: str) -> None:
        self.file = file
        self.cell = cell
        self.policy_text = policy_text
        self.pki = file.parent / cell.pki
        self.state = file.parent / cell.state

    @property
    def nodes(self) -> tuple[str, ...]:
        """Every node and person, by node id."""
        tenants = self.cell.tenants.items()
        return (
            *(f"replica/{name}" for name in self.cell.replicas),
            *(f"sink/{tenant}/{name}" for tenant, part in tenants for name in part.sinks),
            *(f"sidecar/{tenant}/{name}" for tenant, part in tenants for name in part.agents),
            *(f"operator/{name}" for name in self.cell.people),
        )

    def agent(self, name: str) -> AgentPart:
        """Raises `KeyError` for an agent (``tenant/name``) that is not in the file."""
        tenant, _, own = name.partition("/")
        return self.cell.tenants[tenant].agents[own]

    def keyset(self) -> Keyset:
        """Who may say what. Least privilege: nobody has more than a line of the file gives."""
        grants: dict[str, tuple[Grant, ...]] = {f"replica/{name}": (Grant(CONTROL_PLANE, (EVERY_TENANT,)),) for name in self.cell.replicas}
        for tenant, part in self.cell.tenants.items():
            grants |= {f"sidecar/{tenant}/{name}": (Grant(SIDECAR, (tenant,), agent=f"{tenant}/{name}"),) for name in part.agents}
        roles = {"operator": OPERATOR, "approver": APPROVER, "auditor": AUDITOR}
        for person, who in self.cell.people.items():
            grants[person] = tuple(Grant(roles[role], who.tenants) for role in who.roles)
        return Keyset(version=1, grants=grants)

    def make_machine(self, config: NodeConfig, signer: Signer) -> Machine:
        """The machine of one of the cell's nodes, which tells of itself while it runs."""
        return telemetry.Told(build.machine(config, signer, self.keyset()), config.node, telemetry.tellers())

    def configuration(self, node: str) -> NodeConfig:
        """What the core is told. Raises `KeyError` for a node that is not in the file."""
        cell, times = self.cell, self.cell.times
        kind, *rest = node.split("/")
        every_sink: dict[str, str] = {
            f"sink/{tenant}/{name}": sink.kind for tenant, part in cell.tenants.items() for name, sink in part.sinks.items()
        }
        agent = "/".join(rest) if kind == "sidecar" else ""
        labels: tuple[str, ...] = ()
        reach = every_sink
        if agent:
            labels = self.agent(agent).labels
            reach = {sink: every_sink[sink] for name in self.agent(agent).sinks if (sink := f"sink/{rest[0]}/{name}")}
        elif kind == "sink":
            reach = {node: every_sink[node]}
        k, q = cell.quorums()
        return NodeConfig(
            node=node,
            role=kind,
            parameters=Parameters(
                lease_ns=times.lease, renew_ns=times.renew, grace_ns=times.grace, grace_max_ns=times.grace_max, challenge_ns=times.challenge,
                drift_ppm=times.drift, slack_ns=times.slack, stop_timeout_ns=times.stop_timeout, approvals=times.approvals,
            ),
            replicas=tuple(f"replica/{name}" for name in cell.replicas),
            kill_quorum=k,
            quorum=q,
            tenant=rest[0] if len(rest) == 2 else "",
            agent=agent,
            labels=labels,
            sinks=reach,
            fleet={f"{tenant}/{name}": each.labels for tenant, part in cell.tenants.items() for name, each in part.agents.items()},
            policy=self.policy_text,
        )  # fmt: skip

    def deployment(self, node: str, program: tuple[str, ...] = ()) -> Deployment:
        """What the process of ``node`` is told. Raises `KeyError` for a node that is not in the file, `OSError` for keys that cannot be read."""
        config = self.configuration(node)
        directory = self.state / node.replace("/", "-")
        signs = config.role in ("replica", "sidecar")
        reach = {f"replica/{name}": part.listen for name, part in self.cell.replicas.items() if f"replica/{name}" != node}
        for tenant, part in self.cell.tenants.items():
            reach |= {f"sink/{tenant}/{name}": sink.listen for name, sink in part.sinks.items() if f"sink/{tenant}/{name}" in config.sinks}
        own = self._listens(node)
        dials = reach if signs else {}
        return Deployment(
            config=config,
            cell=self.cell.cell,
            directory=str(directory),
            trace="",
            private=pki.signing_key(self.pki, node) if signs else {},
            public=pki.public_keys(self.pki),
            port=split(own)[1] if own else 0,
            host=split(own)[0] if own else "",
            dials={peer: split(address)[1] for peer, address in dials.items()},
            hosts={peer: split(address)[0] for peer, address in dials.items()},
            credentials=pki.files(self.pki, self.cell.trust_domain, node),
            sealing=Sealing(str(pki.sealing_file(self.pki, node)), required=self.cell.sealed_bodies == "required"),
            program=program,
            door=str(directory / "agent.sock") if config.role == "sidecar" else "",
            restart=self.agent(config.agent).restart if config.agent else "always",
            reserve_bytes=RESERVE_BYTES,
        )

    def _listens(self, node: str) -> str:
        kind, *rest = node.split("/")
        if kind == "replica":
            return self.cell.replicas[rest[0]].listen
        return self.cell.tenants[rest[0]].sinks[rest[1]].listen if kind == "sink" else ""


def split(address: str) -> tuple[str, int]:
    """(host, port) of a valid address."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


# -- Reading -------------------------------------------------------------------------------------------------------------------------


def load(file: Path) -> Loaded:
    """Raises `ConfigInvalid` with every problem of the file; what is wrong with the policy that it names is told once there is none."""
    try:
        document = _read(file)
    except OSError as error:
        raise ConfigInvalid([f"{file}: cannot be read ({error.strerror}); `killswitch pki DIR` writes an example"]) from error
    except MarkedYAMLError as error:
        mark = error.problem_mark
        raise ConfigInvalid([f"{file}:{mark.line + 1}:{mark.column + 1}: {error.problem}" if mark else f"{file}: {error}"]) from error
    except (YAMLError, UnicodeDecodeError) as error:
        raise ConfigInvalid(
            [f"{file}: {' '.join(str(error).split())}; a cell's file is YAML in UTF-8: `killswitch pki DIR` writes an example"]
        ) from error
    if not isinstance(document, dict):
        what = "empty" if document is None else "not a mapping of settings"
        raise ConfigInvalid([f"{file}: {what}; `killswitch pki DIR` writes an example"])
    cell, problems = _cell(document)
    problems += [(list(path), words) for path, words in references.complaints(document)]
    if cell is None or problems:
        placed = sorted((_place(document, path), ": ".join(filter(None, (_dotted(path), words)))) for path, words in problems)
        raise ConfigInvalid([f"{file}:{line}:{column}: {words}" for (line, column), words in placed])
    text = ""
    if cell.policy is not None:
        place = file.parent / cell.policy
        try:
            text = place.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigInvalid(
                [f"{file}: policy: {place} cannot be read ({error}); leave it out for the policy that comes with killswitch"]
            ) from error
        wrong = policy.problems(text) if text.strip() else ["policy: empty; leave it out for the policy that comes with killswitch"]
        if wrong:  # such a policy stops agents and resumes none: better said before it is in force
            raise ConfigInvalid([f"{place}: {problem}" for problem in wrong])
    return Loaded(file, cell, text)


def _read(file: Path) -> Any:
    """The document as it stands. A file that is too large, or goes too deep, is refused before anything is made of it."""
    content = files.content(file, BYTES_MAX + 1)
    if len(content) > BYTES_MAX:
        raise ConfigInvalid([f"{file}: larger than {BYTES_MAX // 1024} KiB; is that the file of a cell?"])
    text = content.decode("utf-8")
    depth = 0
    for event in YAML(typ="rt", pure=True).parse(text):
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > DEPTH_MAX:
            raise ConfigInvalid([f"{file}:{event.start_mark.line + 1}: nested deeper than {DEPTH_MAX} levels; a cell's file needs five"])
    return YAML(typ="rt").load(text)


def _cell(document: Any) -> tuple[Cell | None, list[tuple[list[Any], str]]]:
    """The cell, if every part of the document has its form; else what has not, each as (path, problem in words)."""
    try:
        return Cell.model_validate(document), []
    except ValidationError as error:
        return None, [_in_words(dict(problem)) for problem in error.errors()]


def _in_words(problem: dict[str, Any]) -> tuple[list[Any], str]:
    path = [part for part in problem["loc"] if part != "[key]"]
    if problem["type"] == "extra_forbidden":
        return path, f"no such setting; {meant(str(path[-1]), _settings(path[:-1]))}"
    words = str(problem["msg"]).removeprefix("Value error, ")
    told = problem["type"] != "missing" and not isinstance(problem["input"], dict)
    return path, f"{words} (got {problem['input']!r})" if told else words


def _settings(path: list[Any]) -> list[str]:
    """The settings that the part at ``path`` may have."""
    form: Any = Cell
    for step in path:
        known = {field.alias: field.annotation for field in form.model_fields.values()} if _is_form(form) else {}
        form = known[step] if step in known else typing.get_args(form)[-1]  # of parts by name, each has one form
    return [str(field.alias) for field in form.model_fields.values()]


def _is_form(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Part)


def _dotted(path: list[Any]) -> str:
    return ".".join(map(str, path))


def _place(document: Any, path: list[Any]) -> tuple[int, int]:
    """Line and column, from 1, of the deepest part of ``path`` that is there."""
    line, column = 0, 0
    for part in path:
        marks = getattr(document, "lc", None)
        try:
            line, column = marks.item(part) if isinstance(document, list) else marks.key(part)  # type: ignore[union-attr]  # AttributeError is caught
            document = document[part]
        except (AttributeError, KeyError, IndexError, TypeError):
            break
    return line + 1, column + 1


EXAMPLE: Final = """\
# A cell on one machine: three replicas of the control plane, one tenant with an agent and a sink, and the people who may stop and resume it.
# Nobody may do more than is written here: alice stops acme, dana stops everything at once and changes the policy, bob and carol let it run again.
cell: demo
trust-domain: demo.example
times: {lease: 5s, renew: 1s, grace: 30s, drift: 1%, approvals: 2}

replicas:
  1: {listen: "127.0.0.1:7101", api: "127.0.0.1:7201"}
  2: {listen: "127.0.0.1:7102", api: "127.0.0.1:7202"}
  3: {listen: "127.0.0.1:7103", api: "127.0.0.1:7203"}

tenants:
  acme:
    sinks:
      ledger: {class: F, listen: "127.0.0.1:7301"}
    agents:
      a1: {sinks: [ledger], labels: [tier=gold]}

people:
  alice: {roles: [operator], tenants: [acme]}
  bob: {roles: [approver], tenants: ["*"]}
  carol: {roles: [approver, auditor], tenants: ["*"]}
  dana: {roles: [operator], tenants: ["*"]}
"""
