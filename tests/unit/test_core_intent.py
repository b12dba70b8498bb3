"""The severity lattice and the observed-remove set: what is in force, for whom, and what a certificate can lift."""

from __future__ import annotations

import pytest

from killswitch.core import codec, intent
from killswitch.core.certificates import ResumeCertificate
from killswitch.core.intent import HARD, ISOLATE, QUIESCE, RUN, SOFT, Identity, Intent, Severity
from killswitch.core.messages import Gate, Life, Order, OrderBody
from killswitch.core.scopes import Scope
from tests.unit import pair
from tests.unit.pair import EVERYBODY, THIS_AGENT, WHOLE_TENANT, id_of

ME = Identity("acme/1", "acme", ("tier=gold",))
OTHER = Identity("globex/1", "globex", ("tier=gold",))


def known_order(order: Order) -> intent.KnownOrder:
    known = intent.read_order(order)
    assert known is not None
    return known


def knowing(*orders: Order, certificates: tuple[ResumeCertificate, ...] = ()) -> Intent:
    """An intent that learned the orders, then the certificates, all in force."""
    state = Intent()
    for order in orders:
        intent.add_order(state, known_order(order))
    for certificate in certificates:
        put_in_force(state, certificate)
    return state


def put_in_force(state: Intent, certificate: ResumeCertificate) -> None:
    known = intent.read_certificate(certificate)
    assert known is not None
    intent.add_certificate(state, known)
    intent.put_in_force(state, known.id)


@pytest.mark.parametrize(
    ("one", "other", "both"),
    [
        (RUN, SOFT, SOFT),
        (ISOLATE, SOFT, QUIESCE),
        (SOFT, ISOLATE, QUIESCE),
        (QUIESCE, SOFT, QUIESCE),
        (ISOLATE, HARD, HARD),
        (SOFT, HARD, HARD),
    ],
)
def test_join_is_taken_in_each_component(one: Severity, other: Severity, both: Severity) -> None:
    assert intent.join(one, other) == both


@pytest.mark.parametrize(
    ("gate", "life", "severity"), [(7, 0, ISOLATE), (0, 9, Severity(Gate.OPEN, Life.KILL)), (-1, 2, HARD), (2**64 - 1, 2**63, HARD)]
)
def test_a_number_of_a_newer_version_counts_as_the_most_severe(gate: int, life: int, severity: Severity) -> None:
    body = OrderBody("acme", WHOLE_TENANT, gate, life, 0, "alice", "n", "newer")
    assert known_order(Order(codec.pack(body), "replica/1", b"")).severity == severity


@pytest.mark.parametrize(
    ("tenant", "scope", "mine", "others"),
    [
        ("acme", WHOLE_TENANT, True, False),
        ("acme", THIS_AGENT, True, False),
        ("acme", Scope("label", "tier=gold"), True, False),
        ("acme", Scope("label", "tier=silver"), False, False),
        ("globex", EVERYBODY, True, True),
        ("globex", Scope("tenant", "acme"), False, False),
        ("acm", Scope("tenant", "acm"), False, False),
        ("acme", Scope("agent", "acme/11"), False, False),
        ("acme", Scope("agent", "globex/1"), False, False),
        ("acme", Scope("everything", "acme"), False, False),
    ],
)
def test_whom_an_order_concerns(tenant: str, scope: Scope, mine: bool, others: bool) -> None:
    assert intent.matches(tenant, scope, ME) is mine
    assert intent.matches(tenant, scope, OTHER) is others


def test_a_certificate_lifts_what_it_lists_and_leaves_the_rest() -> None:
    soft, hard = pair.order(SOFT), pair.order(HARD)
    state = knowing(soft, hard, certificates=(pair.resume(hard),))
    assert intent.view(state, ME).severity == SOFT
    assert [known.id for known in intent.view(state, ME).uncovered] == [id_of(soft)]


def test_a_certificate_lifts_nothing_before_it_is_in_force() -> None:
    hard = pair.order(HARD)
    state = knowing(hard)
    known = intent.read_certificate(pair.resume(hard))
    assert known is not None
    assert intent.add_certificate(state, known)
    assert intent.view(state, ME).severity == HARD
    intent.put_in_force(state, known.id)
    assert intent.view(state, ME).severity == RUN


def test_an_order_that_comes_after_its_certificate_is_lifted_on_arrival() -> None:
    hard = pair.order(HARD)
    state = knowing(certificates=(pair.resume(hard),))
    intent.add_order(state, known_order(hard))
    assert intent.view(state, ME).severity == RUN
    assert intent.digest(state) == intent.digest(knowing(hard, certificates=(pair.resume(hard),)))


@pytest.mark.parametrize("order_first", [True, False])
@pytest.mark.parametrize(
    ("order", "certificate_scope", "certificate_tenant"),
    [
        (pair.order(HARD, scope=Scope("tenant", "globex"), tenant="globex"), WHOLE_TENANT, "acme"),
        (pair.order(HARD, scope=EVERYBODY, tenant="globex"), WHOLE_TENANT, "acme"),
        (pair.order(HARD, scope=EVERYBODY, tenant="acme"), WHOLE_TENANT, "acme"),
        (pair.order(HARD), THIS_AGENT, "acme"),
    ],
)
def test_a_certificate_lifts_nothing_beyond_its_own_scope(order: Order, certificate_scope: Scope, certificate_tenant: str, order_first: bool) -> None:
    """Approvers of one tenant, or of one agent, cannot lift what was ordered for more than they speak for (S13), in either order of arrival."""
    certificate = pair.resume(order, scope=certificate_scope, tenant=certificate_tenant)
    state = knowing(order) if order_first else knowing(certificates=(certificate,))
    if order_first:
        put_in_force(state, certificate)
    else:
        intent.add_order(state, known_order(order))
    assert id_of(order) not in state.lifted
    assert [known.id for known in intent.view(state, Identity("globex/1", "globex")).uncovered + intent.view(state, ME).uncovered]


def test_a_second_certificate_lifts_what_the_first_could_not() -> None:
    order = pair.order(HARD, scope=EVERYBODY)
    state = knowing(order, certificates=(pair.resume(order, nonce="tenant only"), pair.resume(order, scope=EVERYBODY, nonce="whole cell")))
    assert intent.view(state, ME).severity == RUN


def test_what_is_no_order_is_none() -> None:
    assert intent.read_order(Order(b"\xc1", "replica/1", b"")) is None
    assert intent.read_certificate(ResumeCertificate(b"", ())) is None
    assert intent.read_order(Order(pair.resume(pair.order(HARD)).raw, "replica/1", b"")) is None


def test_a_view_is_remembered_only_until_the_intent_changes() -> None:
    state = knowing(pair.order(SOFT))
    before = intent.view(state, ME)
    assert intent.view(state, ME) is before
    intent.add_order(state, known_order(pair.order(HARD)))
    assert intent.view(state, ME).severity == HARD
    assert not intent.add_order(state, known_order(pair.order(HARD))), "known already"


def test_orders_are_found_by_their_nonce_however_often_they_come() -> None:
    soft, hard, other = pair.order(SOFT, nonce="alice/r"), pair.order(HARD, nonce="alice/r"), pair.order(HARD, nonce="alice/s")
    state = knowing(hard, other, soft, hard)
    assert [known.id for known in intent.named(state, "alice/r")] == [id_of(hard), id_of(soft)]
    assert intent.named(state, "alice") == ()


def test_titles_name_every_point_of_the_lattice() -> None:
    assert [each.title for each in (RUN, ISOLATE, SOFT, QUIESCE, HARD)] == ["RUN", "ISOLATE", "SOFT", "QUIESCE", "HARD"]
    assert Severity(Gate.OPEN, Life.STOP).title == "(OPEN,STOP)"
