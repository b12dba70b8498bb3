"""A control-plane replica as a service: the node, and the people who speak to it.

Owns the way between a person's request and the replica's core, who may read what, and the record of it. Must not know HTTP (``api``) nor what an
order does (the core). A request is signed by the person who makes it, end to end: this process can refuse or lose one, and cannot make one up.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from importlib import resources
from typing import Any, Final

from msgspec import structs

from killswitch.core import audit, audit_export, policy, transparency
from killswitch.core.bundles import RolloutRequest, RolloutStatus
from killswitch.core.certificates import ResumeDraft, ResumeDraftRequest, ResumeStatus, ResumeSubmit
from killswitch.core.countersigns import CountersignedRequest
from killswitch.core.events import Append, Boot, Effect, Input, Receive, Record
from killswitch.core.heads import Cosignature, Cosigned, Sth
from killswitch.core.keys import EVERY_TENANT, Keyset
from killswitch.core.machine import Machine, NodeConfig
from killswitch.core.messages import Message, OrderRequest, OrderStatus
from killswitch.core.replica.state import Replica
from killswitch.live import view
from killswitch.live.config import AUDITOR, Loaded, split
from killswitch.live.credentials import Credentials
from killswitch.live.gateway import Gateway
from killswitch.live.node import Fittings, Node

ANSWER_S: Final = 5.0
HEADS_MAX: Final = 16
ACCESS: Final = policy.Bundle(resources.files("killswitch.live").joinpath("policies/access.cedar").read_text("utf-8"))
SYSTEM: Final = "system"

Asked = OrderRequest | CountersignedRequest | ResumeDraftRequest | ResumeSubmit | RolloutRequest
Answer = OrderStatus | ResumeDraft | ResumeStatus | RolloutStatus


class NotAllowed(Exception):
    """The policy says no; the message says what would change that."""


class NoAnswer(Exception):
    """The core said nothing in time."""


class Watched:
    """The replica's machine, with notes of what passes: when each order became effective, on the replica's own clock, and who cosigned its heads."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.effective_ns: dict[str, int] = {}
        self.cosigned: dict[Sth, dict[str, Cosignature]] = {}  # the latest heads of this replica's log -> {witness: its signature}
        self.appended = 0

    @property
    def state(self) -> Replica:
        state = getattr(self._machine, "state", None)
        assert isinstance(state, Replica), "only our own replica can be looked into"
        return state

    def step(self, event: Input, now_ns: int) -> list[Effect]:
        effects = self._machine.step(event, now_ns)
        if isinstance(event, Boot):
            for record in event.records:
                self._note(record, event.boot)
        elif isinstance(event, Receive) and isinstance(event.message, Cosigned):
            self._keep(event.sender, event.message)
        for effect in effects:
            if isinstance(effect, Append):
                self.appended += 1
                self._note(effect.record, effect.record.boot)
        return effects

    def digest(self) -> str:
        return self._machine.digest()

    def heads(self) -> tuple[str, ...]:
        """Notes of this replica's cosigned heads, shortest first."""
        ordered = sorted(self.cosigned.items(), key=lambda item: item[0].size)
        return tuple(transparency.write_note(head, signed.values()) for head, signed in ordered)

    def _keep(self, sender: str, message: Cosigned) -> None:
        """A witness that was forgotten with a restart says it again."""
        for each in message.cosignatures:
            mine = each.head.origin == self.state.node and each.witness == sender
            if mine and transparency.believes_cosignature(self.state.trust.signer, each):
                self.cosigned.setdefault(each.head, {})[sender] = each
        while len(self.cosigned) > HEADS_MAX:
            del self.cosigned[min(self.cosigned, key=lambda head: head.size)]

    def _note(self, record: Record, boot: str) -> None:
        if record.kind == "ORDER_EFFECTIVE" and record.boot == boot:  # of another boot of the host, a clock reading says nothing
            self.effective_ns[str(audit.content(record)["order"])] = record.clock_ns


class ControlPlane(Node):
    """The replica ``name`` of a cell. What is asked of it here is asked by ``person``, as the certificate says."""

    def __init__(self, loaded: Loaded, name: str, application: Callable[[ControlPlane], Any]) -> None:
        """``application``: makes the ASGI application that people speak to."""
        self._loaded = loaded
        self._application = application
        self._watched: Watched | None = None
        self._open: dict[str, list[asyncio.Queue[Answer]]] = {}
        deployment = loaded.deployment(f"replica/{name}")
        super().__init__(deployment, Fittings(self._make), None)
        self.node = deployment.config.node
        self.keyset: Keyset = loaded.keyset()
        self._api = split(loaded.cell.replicas[name].api)

    def _make(self, config: NodeConfig, signer: Any) -> Machine:
        self._watched = Watched(self._loaded.make_machine(config, signer))
        return self._watched

    async def run(self, guard: socket.socket | None = None, ready: Callable[[], None] = lambda: None) -> int:
        """Be the replica, and serve people. Raises `OSError` if an address is taken."""
        assert self._deployment.credentials is not None
        gateway = Gateway(self._application(self), Credentials(self._deployment.credentials), self._access.refused)
        await gateway.open(self._api[1], self._api[0])
        try:
            return await super().run(guard, ready)
        finally:
            await gateway.close()

    def send(self, to: str, message: Message) -> None:
        """What the core tells people is handed to whoever waits for it; nobody does any more: they ask again."""
        if not to.startswith("operator/"):
            super().send(to, message)
        elif isinstance(message, Answer):
            for queue in self._open.get(message.request, ()):
                queue.put_nowait(message)

    # -- What people ask -------------------------------------------------------------------------------------------------------------

    async def ask(self, person: str, asked: Asked, *, patiently: bool = False) -> Answer:
        """The core's answer. ``patiently``: an order or rollout that is merely accepted is waited on for a while. Raises `NoAnswer`.

        Nothing here waits for a disk before the core has been asked: a stop must not.
        """
        kind = type(asked).__name__
        async with self._answers(asked.request) as answers:
            await self._host.receive(f"operator/{person}", asked)
            self._access.note("ASKED", {"person": person, "what": kind, "request": asked.request})
            deadline = asyncio.get_running_loop().time() + ANSWER_S
            answer: Answer | None = None
            while answer is None or (patiently and getattr(answer, "stage", "") == "ACCEPTED"):
                try:
                    async with asyncio.timeout_at(deadline):
                        answer = await answers.get()
                except TimeoutError:
                    break
        if answer is None:
            raise NoAnswer(f"{self.node} did not answer within {ANSWER_S:.0f} s; ask again, here or at another replica, with the same request")
        return answer

    @contextlib.asynccontextmanager
    async def _answers(self, request: str) -> AsyncIterator[asyncio.Queue[Answer]]:
        queue: asyncio.Queue[Answer] = asyncio.Queue()
        self._open.setdefault(request, []).append(queue)
        try:
            yield queue
        finally:
            self._open[request].remove(queue)
            if not self._open[request]:
                del self._open[request]

    # -- What people may read --------------------------------------------------------------------------------------------------------

    def tenants_of(self, person: str, role: str = "") -> frozenset[str]:
        """For which tenants ``person`` has ``role``, or any."""
        grants = () if person in self.keyset.revoked else self.keyset.grants.get(person, ())
        return frozenset(tenant for grant in grants if role in ("", grant.role) for tenant in grant.tenants)

    async def allow(self, person: str, action: str, tenant: str) -> frozenset[str]:
        """Put the policy's ruling on record and, if it allows, say which tenants are meant (``tenant`` "": all that the person may see).

        Raises `NotAllowed`, and `LogFailed` for a ruling that cannot be recorded.
        """
        mine = self.tenants_of(person, AUDITOR if action == "audit" else "")
        asked = frozenset({tenant}) if tenant else mine
        authorised = bool(mine) and (not tenant or tenant in mine or EVERY_TENANT in mine)
        scope = ("tenant", tenant) if tenant else ("global", "")
        ruling = policy.decide(
            ACCESS,
            policy.Request(
                principal=person, action=action, authorised=authorised, tenant=tenant or SYSTEM, scope_kind=scope[0], scope_value=scope[1]
            ),
        )
        decided = structs.asdict(ruling.decision)
        await self._access.record("DECISION", {"person": person, "action": action, "tenant": tenant, "allowed": ruling.allowed, "decision": decided})
        if not ruling.allowed:
            whose = f"for tenant {tenant}" if tenant else "in this cell"
            raise NotAllowed(f"{person} may not {action} {whose}; `people` in the cell's file says who may")
        return asked

    def status(self, tenants: frozenset[str], *, lifted: bool) -> dict[str, Any]:
        """Orders and agents as this replica knows them."""
        state = self.state
        now_ns = self._deployment.clock.read_ns()
        assert self._watched is not None
        return {
            "replica": self.node,
            "cell": self._deployment.cell,
            "policy": view.policy(state),
            "vouches": not state.disk_failed,  # a replica whose disk failed forwards and denies, and is no witness of anything
            "forked": view.forked(state, tenants),
            "orders": view.orders(state, tenants, self._watched.effective_ns, now_ns, lifted=lifted),
            "agents": view.agents(state, tenants),
        }

    def order(self, order: str, tenants: frozenset[str]) -> dict[str, Any] | None:
        """One order, if it is known and may be seen."""
        found = [each for each in self.status(tenants, lifted=True)["orders"] if each["order"] == order]
        return found[0] if found else None

    def warning(self, order: str, tenants: frozenset[str]) -> str:
        """What has to be said of an order's scope; empty if there is nothing to say, or no such order."""
        known = self.state.intent.orders.get(order)
        return view.warning(self.state, known, tenants) if known is not None and view.concerns(tenants, known) else ""

    async def export(self, tenant: str) -> audit_export.Export:
        """This replica's part of the tenant's audit trail, as it is on disk. Raises `LogFailed`."""
        assert self._watched is not None
        heads = {self.node: self._watched.heads()}  # taken first: the log on disk reaches as far, for only what is durable is shown to witnesses
        return audit_export.export({self.node: await asyncio.to_thread(self._log.read_apart)}, tenant, heads)

    def figures(self) -> dict[str, float]:
        """For monitoring: {name: value}, of the whole replica and no tenant in particular."""
        state, counters = self.state, self._transport.counters
        assert self._watched is not None
        uncovered = [known for known in state.intent.orders.values() if known.id not in state.intent.lifted]
        return {
            "orders_in_force": len(uncovered),
            "orders_effective": sum(known.id in state.effective for known in uncovered),
            "stops_unconfirmed": view.unconfirmed(state),
            "fences_missing": len(state.fences),
            "disk_failed": int(state.disk_failed),
            "forks_proven": len(state.forks),
            "log_records_total": self._watched.appended,
            "frames_sent_total": counters.sent,
            "frames_received_total": counters.received,
            "frames_dropped_total": counters.dropped,
            "peers_refused_total": counters.refused,
            **{f"bodies_unopened_{why}_total": count for why, count in counters.unopened.items()},
        }

    @property
    def state(self) -> Replica:
        assert self._watched is not None
        return self._watched.state
