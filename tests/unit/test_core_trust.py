"""Whom a node believes: orders liberally, certificates strictly, evidence from the agent's own sidecar (D7, S13)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec import structs

from killswitch.core import codec, keys, trust
from killswitch.core.certificates import Approval, ResumeCertificate, ResumeDraftRequest
from killswitch.core.intent import HARD, ISOLATE, SOFT
from killswitch.core.keys import Grant, Keyset
from killswitch.core.messages import Evidence, OrderBody, OrderRequest, Token
from killswitch.core.scopes import Scope
from killswitch.core.trust import Trust
from tests.unit import pair
from tests.unit.pair import AGENT, SIDECAR, TRUST

TENANTS = Keyset(
    1,
    {
        "replica/1": (Grant(keys.CONTROL_PLANE, ("*",)),),
        "replica/acme": (Grant(keys.CONTROL_PLANE, ("acme",)),),
        "replica/gentle": (Grant(keys.CONTROL_PLANE, ("*",), 1, 1),),
        "bob": (Grant(keys.APPROVER, ("acme",)),),
        "carol": (Grant(keys.APPROVER, ("acme",)),),
        "dave": (Grant(keys.APPROVER, ("globex",)),),
    },
)
BY_TENANT = Trust(pair.SIGNER, TENANTS, 2)


@pytest.mark.parametrize(
    ("signer", "tenant", "scope", "severity", "believed"),
    [
        ("replica/1", "globex", pair.EVERYBODY, HARD, True),
        ("replica/acme", "acme", pair.WHOLE_TENANT, HARD, True),
        ("replica/acme", "globex", Scope("tenant", "globex"), HARD, False),
        ("replica/acme", "acme", pair.EVERYBODY, HARD, False),
        ("replica/gentle", "acme", pair.WHOLE_TENANT, SOFT, True),
        ("replica/gentle", "acme", pair.WHOLE_TENANT, ISOLATE, False),
        ("bob", "acme", pair.WHOLE_TENANT, SOFT, False),
        ("nobody", "acme", pair.WHOLE_TENANT, SOFT, False),
    ],
)
def test_who_may_sign_which_order(signer: str, tenant: str, scope: Scope, severity: tuple[int, int], believed: bool) -> None:
    order = pair.order(HARD if severity == HARD else SOFT if severity == SOFT else ISOLATE, scope=scope, tenant=tenant, signer=signer)
    assert (trust.read_order(BY_TENANT, order) is not None) is believed


def test_an_order_is_believed_under_any_keyset_version_and_from_a_revoked_key() -> None:
    body = OrderBody("acme", pair.WHOLE_TENANT, 2, 2, 0, "alice", "n", "rotation", keyset=99)
    order = trust.sign_order(TRUST, "replica/1", body)
    revoked = TRUST._replace(keyset=structs.replace(TRUST.keyset, revoked=frozenset({"replica/1"})))
    assert trust.read_order(TRUST, order) is not None
    assert trust.read_order(revoked, order) is not None, "a key that is lost takes no prohibition with it (D7)"


@pytest.mark.parametrize("field", ["raw", "signer", "signature"])
def test_a_changed_order_is_not_believed(field: str) -> None:
    order = pair.order(HARD)
    changed = {"raw": order.raw[:-1] + bytes([order.raw[-1] ^ 1]), "signer": "replica/2", "signature": order.signature[::-1]}
    assert trust.read_order(TRUST, structs.replace(order, **{field: changed[field]})) is None


@pytest.mark.parametrize(
    ("approvers", "requester", "tenant", "scope", "believed"),
    [
        (("bob", "carol"), "alice", "acme", pair.WHOLE_TENANT, True),
        (("bob", "bob"), "alice", "acme", pair.WHOLE_TENANT, False),
        (("bob", "carol"), "bob", "acme", pair.WHOLE_TENANT, False),
        (("bob", "dave"), "alice", "acme", pair.WHOLE_TENANT, False),
        (("bob", "carol"), "alice", "globex", Scope("tenant", "globex"), False),
        (("bob", "carol"), "alice", "acme", pair.EVERYBODY, False),
        (("bob", "replica/1"), "alice", "acme", pair.WHOLE_TENANT, False),
    ],
)
def test_a_resume_takes_distinct_approvers_of_its_own_scope(
    approvers: tuple[str, ...], requester: str, tenant: str, scope: Scope, believed: bool
) -> None:
    certificate = pair.resume(pair.order(HARD), approvers=approvers, requester=requester, tenant=tenant, scope=scope)
    assert (trust.read_certificate(BY_TENANT, certificate) is not None) is believed


def test_an_approval_is_of_these_bytes_alone() -> None:
    one, two = pair.resume(pair.order(HARD), nonce="one"), pair.resume(pair.order(HARD), nonce="two")
    assert trust.read_certificate(TRUST, structs.replace(one, approvals=two.approvals)) is None
    assert trust.read_certificate(TRUST, structs.replace(one, approvals=(one.approvals[0], two.approvals[1]))) is None


def test_a_signature_of_one_kind_is_none_of_another() -> None:
    """An approver who is also a replica signs an order's bytes; that is no approval of a certificate with the same bytes (B28)."""
    certificate = pair.resume(pair.order(HARD))
    as_orders = tuple(Approval(name, pair.SIGNER.sign(name, keys.ORDER, certificate.raw)) for name in ("bob", "carol"))
    assert trust.read_certificate(TRUST, structs.replace(certificate, approvals=as_orders)) is None


def test_a_revoked_approver_approves_nothing() -> None:
    revoked = TRUST._replace(keyset=structs.replace(TRUST.keyset, revoked=frozenset({"bob"})))
    certificate = pair.resume(pair.order(HARD))
    assert trust.read_certificate(TRUST, certificate) is not None
    assert trust.read_certificate(revoked, certificate) is None


@pytest.mark.parametrize(
    ("sidecar", "agent", "believed"),
    [(SIDECAR, AGENT, True), (SIDECAR, "acme/2", False), ("sidecar/acme/2", AGENT, False), ("replica/1", AGENT, False)],
)
def test_evidence_is_the_agents_own_sidecars(sidecar: str, agent: str, believed: bool) -> None:
    evidence = trust.sign_evidence(TRUST, sidecar, Evidence(agent, Token(1, 1, "a"), "order", "GATE_CLOSED", 0, ()))
    assert trust.believes_evidence(TRUST, sidecar, evidence) is believed
    assert not trust.believes_evidence(TRUST, sidecar, structs.replace(evidence, stage="STOPPED_CLEAN"))
    assert not trust.believes_evidence(TRUST, sidecar, structs.replace(evidence, token=Token(1, 2, "a")))


def test_a_request_is_of_its_principal_and_of_its_kind() -> None:
    ordered = trust.sign_request(TRUST, OrderRequest("r", "alice", "acme", pair.WHOLE_TENANT, 2, 2, 0, "now"))
    asked = trust.sign_request(TRUST, ResumeDraftRequest("r", "alice", "acme", pair.WHOLE_TENANT, "again"))
    assert trust.believes_request(TRUST, ordered)
    assert trust.believes_request(TRUST, asked)
    assert not trust.believes_request(TRUST, structs.replace(ordered, life=1))
    assert not trust.believes_request(TRUST, structs.replace(ordered, principal="bob"))
    assert not trust.believes_request(TRUST, structs.replace(asked, signature=ordered.signature))


def test_a_draft_reads_back() -> None:
    certificate = pair.resume(pair.order(HARD))
    body = trust.read_draft(certificate.raw)
    assert body is not None
    assert codec.pack(body) == certificate.raw
    assert trust.read_draft(b"no draft") is None


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (lambda raw: trust.sign_asked(TRUST, "alice", raw), ""),
        (lambda raw: trust.sign_asked(TRUST, "alice", raw + b" "), "alice, in whose name it is asked for, has not signed exactly this"),
        (lambda raw: trust.sign_approval(TRUST, "alice", raw), "alice, in whose name it is asked for, has not signed exactly this"),
        (lambda raw: trust.sign_asked(TRUST, "erin", raw), "alice, in whose name it is asked for, has not signed exactly this"),
    ],
)
def test_a_resume_is_asked_for_by_whoever_it_names(asked: Callable[[bytes], Approval], why: str) -> None:
    raw = pair.resume(pair.order(HARD)).raw
    certificate = ResumeCertificate(raw, (asked(raw), *(trust.sign_approval(TRUST, each, raw) for each in ("bob", "carol"))))
    assert (trust.read_certificate(TRUST, certificate) is not None) == (not why)
    assert trust.shortfall(TRUST, certificate).startswith(why)
