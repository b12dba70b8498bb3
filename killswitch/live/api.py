"""The operator API: what people ask of a control-plane replica, as HTTP (OpenAPI at ``/openapi.json``).

Owns paths, forms and status codes. Must not know how anything is decided: it hands over and answers. Who asks is what the certificate says; orders
and resumes carry, besides, the person's own signature, which this process cannot make.

|code|means|
|---|---|
|200, 202|done as the body says; 202: it is held here and not yet by enough replicas, ask again with the same request; or it wants more keys|
|403|the policy says no|
|404, 422|no such thing; a request that is not of the form|
|409|this request's order was lifted, its rollout superseded, or a resume lists less than is in force or was approved too late: ask anew|
|503|no answer from the core, or a disk that cannot record: ask another replica|
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import msgspec
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse
from msgspec import structs
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from killswitch.core import audit_export, trust
from killswitch.core.bundles import TEXT_MAX, RolloutRequest, RolloutStatus
from killswitch.core.certificates import Approval, ResumeCertificate, ResumeDraft, ResumeDraftRequest, ResumeStatus, ResumeSubmit
from killswitch.core.countersigns import COUNTERSIGNATURES_MAX, Countersignature, CountersignedRequest
from killswitch.core.messages import ASK_ANOTHER, GRACE_MAX_NS, Gate, Life, OrderRequest, OrderStatus
from killswitch.core.scopes import Scope
from killswitch.live.gateway import PEER
from killswitch.live.log import LogFailed
from killswitch.live.plane import ControlPlane, NoAnswer, NotAllowed

PREFIX = "killswitch_"


def _base64(text: str) -> str:
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("not base64") from None
    return text


Text = Annotated[str, Field(max_length=256, pattern=r"^[^\x00-\x1f]*$")]
Name = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[a-zA-Z0-9._/:=@-]+$")]
Tenant = Annotated[str, Field(max_length=64, pattern=r"^([a-zA-Z0-9._-]+|[*])$")]  # * for what concerns the whole cell
Bytes = Annotated[str, Field(max_length=1 << 17, pattern=r"^[A-Za-z0-9+/]*={0,2}$"), AfterValidator(_base64)]


OneTenant = Annotated[str, Query(max_length=64, pattern=r"^[a-zA-Z0-9._-]*$")]


class Form(BaseModel):
    """What a request may hold, and nothing else."""

    model_config = ConfigDict(extra="forbid", strict=True)


class ScopeForm(Form):
    """Whom it concerns: an ``agent`` (tenant/name), a ``label`` (key=value) or all of a ``tenant``, or ``global``."""

    kind: Annotated[str, Field(pattern="^(agent|label|tenant|global)$")]
    value: Annotated[str, Field(max_length=128, pattern=r"^[a-zA-Z0-9._/:=@-]*$")] = ""


class OrderForm(Form):
    """A stop. ``signature``: Ed25519 over ``ksp/1/order-request`` NUL and the canonical MessagePack of the request without it."""

    request: Name
    tenant: Tenant
    scope: ScopeForm
    gate: Annotated[int, Field(ge=0, le=2)]
    life: Annotated[int, Field(ge=0, le=2)]
    grace_ns: Annotated[int, Field(ge=0, le=GRACE_MAX_NS)] = 0
    reason: Text
    cleanup: Annotated[str, Field(pattern="^(none|journal_only|compensate)$")] = "none"
    signature: Bytes


class CountersignatureForm(Form):
    """Somebody's signature over exactly the bytes of the request, with ``ksp/1/countersign``."""

    countersigner: Name
    signature: Bytes


class CountersignedForm(Form):
    """A stop once more, with further keys. ``raw``: the canonical MessagePack of the request without its ``signature``, which is beside it."""

    request: Name
    raw: Bytes
    signature: Bytes
    countersignatures: Annotated[list[CountersignatureForm], Field(max_length=COUNTERSIGNATURES_MAX)]


class DraftForm(Form):
    """Ask what a resume would have to lift. ``signature``: as of an order, with ``ksp/1/resume-request``."""

    request: Name
    tenant: Tenant
    scope: ScopeForm
    reason: Text
    signature: Bytes


class ApprovalForm(Form):
    """Somebody's signature over exactly the bytes of the draft, with ``ksp/1/resume``."""

    approver: Name
    signature: Bytes


class ResumeForm(Form):
    """A draft comes back with its approvals, and with the signature of whoever asks for it among them."""

    request: Name
    raw: Bytes
    approvals: Annotated[list[ApprovalForm], Field(max_length=17)]


class PolicyForm(Form):
    """A step of a policy's way into force. ``text``: Cedar, to try it; left out, the one on trial is meant. ``guard``: how many stops a canary may
    make alone before it is taken back. ``signature``: as of an order, with ``ksp/1/rollout-request``."""

    request: Name
    stage: Annotated[str, Field(pattern="^(SHADOW|CANARY|STABLE|ROLLED_BACK)$")]
    text: Annotated[str, Field(max_length=TEXT_MAX)] = ""
    tests: Annotated[str, Field(max_length=64, pattern="^[0-9a-f]*$")] = ""
    percent: Annotated[int, Field(ge=0, le=100)] = 0
    guard: Annotated[int, Field(ge=0, le=1 << 31)] = 0
    signature: Bytes


class Problem(BaseModel):
    """Why a request was not carried out."""

    detail: str


REFUSALS: dict[int | str, dict[str, Any]] = {403: {"model": Problem}, 503: {"model": Problem}}


def application(plane: ControlPlane) -> FastAPI:
    """The API of one replica."""
    api = FastAPI(title="Kill switch operator API", version="1", docs_url=None, redoc_url=None)
    _handle_problems(api)
    _stops_and_resumes(api, plane)
    _policies(api, plane)
    _readings(api, plane)
    return api


def person(request: Request) -> str:
    """Who asks. Only people are served: a node that speaks here is somewhere that it should not be."""
    peer = str(request.scope.get(PEER, ""))
    name = peer.removeprefix("operator/")
    if name == peer or not name:
        raise HTTPException(403, f"{peer or 'nobody'}: only people are served here, with a certificate of their own")
    return name


Person = Annotated[str, Depends(person)]


def _handle_problems(api: FastAPI) -> None:
    def answered(code: int) -> Callable[[Request, Exception], JSONResponse]:
        return lambda _request, error: JSONResponse({"detail": str(error)}, code)

    api.add_exception_handler(NotAllowed, answered(403))
    api.add_exception_handler(NoAnswer, answered(503))
    api.add_exception_handler(LogFailed, answered(503))


def _stops_and_resumes(api: FastAPI, plane: ControlPlane) -> None:
    @api.post("/v1/orders", responses={**REFUSALS, 202: {}, 409: {}})
    async def order(form: OrderForm, who: Person, response: Response) -> dict[str, Any]:
        """Issue a stop. The same ``request`` always gives the same order, here and at every replica, so asking again is safe."""
        scope = Scope(form.scope.kind, form.scope.value)
        asked = OrderRequest(
            form.request, who, form.tenant, scope, Gate(form.gate), Life(form.life), form.grace_ns, form.reason, form.cleanup, _bytes(form.signature)
        )
        return await _ordered(plane, who, asked, response)

    @api.post("/v1/orders/countersigned", responses={**REFUSALS, 202: {}, 409: {}, 422: {"model": Problem}})
    async def countersigned(form: CountersignedForm, who: Person, response: Response) -> dict[str, Any]:
        """Issue a stop that the policy wants several people to ask for. Until there are enough of them it isolates, and ``keys_needed`` says how many
        are missing; whoever is asked further adds a signature and hands in all that there are."""
        signatures = tuple(Countersignature(each.countersigner, _bytes(each.signature)) for each in form.countersignatures)
        asked = CountersignedRequest(form.request, _bytes(form.raw), _bytes(form.signature), signatures)
        if trust.read_countersigned(asked) is None:
            raise HTTPException(422, "raw: not the request that it is named as")
        return await _ordered(plane, who, asked, response)

    @api.post("/v1/resumes/drafts", responses=REFUSALS)
    async def draft(form: DraftForm, who: Person) -> dict[str, Any]:
        """What approvers would have to sign to lift everything in force in a scope."""
        asked = ResumeDraftRequest(form.request, who, form.tenant, Scope(form.scope.kind, form.scope.value), form.reason, _bytes(form.signature))
        answer = await plane.ask(who, asked)
        assert isinstance(answer, ResumeDraft)
        if answer.stage == "REFUSED":
            raise NotAllowed(answer.why)
        if answer.stage == ASK_ANOTHER:
            raise NoAnswer(f"{answer.why}; ask another replica")
        raw = base64.b64encode(answer.raw).decode()
        return {"request": answer.request, "stage": answer.stage, "raw": raw, "approvals_needed": answer.approvals_needed}

    @api.post("/v1/resumes", responses={**REFUSALS, 409: {}})
    async def resume(form: ResumeForm, who: Person, response: Response) -> dict[str, Any]:
        """Hand in a draft with its approvals. Lifting does not restart anything by itself: a start takes its own way (protocol 3.8)."""
        approvals = tuple(Approval(each.approver, _bytes(each.signature)) for each in form.approvals)
        answer = await plane.ask(who, ResumeSubmit(form.request, ResumeCertificate(_bytes(form.raw), approvals)))
        assert isinstance(answer, ResumeStatus)
        if answer.stage == "REFUSED":
            raise NotAllowed(answer.why)
        if answer.stage == ASK_ANOTHER:
            raise NoAnswer(f"{answer.why}; hand it in at another replica")
        response.status_code = 409 if answer.stage in ("NEEDS_CONTEXT", "EXPIRED") else 200
        return {"request": answer.request, "certificate": answer.certificate, "stage": answer.stage, "missing": list(answer.missing)}


async def _ordered(plane: ControlPlane, who: str, asked: OrderRequest | CountersignedRequest, response: Response) -> dict[str, Any]:
    answer = await plane.ask(who, asked, patiently=True)
    assert isinstance(answer, OrderStatus)
    if answer.stage == "REFUSED":
        raise NotAllowed(answer.why)
    response.status_code = {"ACCEPTED": 202, "NEEDS_KEYS": 202, "ALREADY_COVERED": 409}.get(answer.stage, 200)
    tenants = plane.tenants_of(who)
    stands = plane.order(answer.order, tenants)
    said = {name: getattr(answer, name) for name in ("request", "order", "stage", "copies", "why")}
    return {**said, "keys_needed": answer.keys, "stands": stands, "warning": plane.warning(answer.order, tenants)}


def _policies(api: FastAPI, plane: ControlPlane) -> None:
    @api.post("/v1/policies", responses={**REFUSALS, 202: {}, 409: {}})
    async def policy(form: PolicyForm, who: Person, response: Response) -> dict[str, Any]:
        """Try a policy, promote it, or take it back, in the whole cell. It takes an operator of every tenant."""
        asked = RolloutRequest(form.request, who, form.stage, form.text, form.tests, form.percent, form.guard, _bytes(form.signature))
        answer = await plane.ask(who, asked, patiently=True)
        assert isinstance(answer, RolloutStatus)
        if answer.stage == "REFUSED":
            raise NotAllowed(answer.why)
        response.status_code = {"ACCEPTED": 202, "SUPERSEDED": 409}.get(answer.stage, 200)
        return {"request": answer.request, "stage": answer.stage, "rollout": answer.seq, "why": answer.why}


def _readings(api: FastAPI, plane: ControlPlane) -> None:
    @api.get("/v1/status", responses=REFUSALS)
    async def status(who: Person, tenant: OneTenant = "", lifted: bool = False) -> dict[str, Any]:
        """Orders in force, the evidence about each agent, and by when theorem T1 promises the end."""
        return plane.status(await plane.allow(who, "status", tenant), lifted=lifted)

    @api.get("/v1/audit/{tenant}", responses=REFUSALS)
    async def audit(tenant: Name, who: Person) -> Response:
        """A tenant's part of this replica's log with proofs, and hashes alone of everybody else's; `killswitch audit verify` checks it."""
        await plane.allow(who, "audit", tenant)
        return Response(msgspec.json.encode(await plane.export(tenant)), media_type="application/json")

    @api.get("/v1/audit/{tenant}/verify", responses=REFUSALS)
    async def verify(tenant: Name, who: Person) -> dict[str, Any]:
        """What this replica itself finds when it checks that part. An auditor who does not trust it exports, and checks elsewhere."""
        await plane.allow(who, "audit", tenant)
        replicas = plane.state.config.replicas
        report = audit_export.verify(await plane.export(tenant), plane.state.trust.signer, replicas, {plane.node: 1})
        said = {name: getattr(report, name) for name in ("sound", "problem", "seq", "why", "records")}
        return {**said, "logs": {writer: structs.asdict(each) for writer, each in report.standings.items()}}

    @api.get("/metrics", responses=REFUSALS)
    async def metrics(who: Person) -> Response:
        """For Prometheus."""
        await plane.allow(who, "metrics", "")
        registry = CollectorRegistry()
        registry.register(Figures(plane.figures()))
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class Figures(Collector):
    """The figures of one moment, as Prometheus has them: what only grows is a counter."""

    def __init__(self, figures: dict[str, float]) -> None:
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        for name, value in self._figures.items():
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            yield kind(PREFIX + name, name.removesuffix("_total").replace("_", " "), value=value)


def _bytes(text: str) -> bytes:
    return base64.b64decode(text)
