"""Laws of the lattice and confluence of learning (S5, D1, D2); and that the mistakes people make here break these very laws."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from harness.planted.prohibitions import chain_of_severities
from harness.planted.resumes import lifts_everything_older
from killswitch.core import intent
from killswitch.core.certificates import ResumeCertificate
from killswitch.core.intent import HARD, ISOLATE, QUIESCE, RUN, SOFT, Identity, Intent, Severity
from killswitch.core.messages import Gate, Life, Order
from tests.unit import pair

ME = Identity("acme/1", "acme", ("tier=gold",))
SEVERITIES = st.builds(Severity, st.sampled_from(Gate), st.sampled_from(Life))
FIVE = (RUN, ISOLATE, SOFT, QUIESCE, HARD)
ORDERS = tuple(
    pair.order(severity, scope=scope, nonce=f"{severity.title} {scope.kind}")
    for severity in (ISOLATE, SOFT, HARD)
    for scope in (pair.WHOLE_TENANT, pair.THIS_AGENT, pair.EVERYBODY)
)
CERTIFICATES = (
    pair.resume(*ORDERS[:3], nonce="first"),
    pair.resume(*ORDERS[2:6], scope=pair.EVERYBODY, nonce="second"),
    pair.resume(ORDERS[8], nonce="beyond its scope"),
)
SIGNED = st.lists(st.sampled_from([*ORDERS, *CERTIFICATES]), max_size=14)


def learned(signed: Sequence[Order | ResumeCertificate]) -> Intent:
    """What a node knows that learned these, one after the other, each certificate in force at once."""
    state = Intent()
    for each in signed:
        if isinstance(each, Order):
            order = intent.read_order(each)
            assert order is not None
            intent.add_order(state, order)
        else:
            certificate = intent.read_certificate(each)
            assert certificate is not None
            intent.add_certificate(state, certificate)
            intent.put_in_force(state, certificate.id)
    return state


def summary(state: Intent) -> tuple[str, Severity, str]:
    view = intent.view(state, ME)
    return intent.digest(state), view.severity, view.digest


@given(SEVERITIES, SEVERITIES, SEVERITIES)
def test_join_is_a_semilattice(one: Severity, two: Severity, three: Severity) -> None:
    assert intent.join(one, two) == intent.join(two, one)
    assert intent.join(one, intent.join(two, three)) == intent.join(intent.join(one, two), three)
    assert intent.join(one, one) == one
    assert intent.join(one, RUN) == one


@given(SEVERITIES, SEVERITIES)
def test_join_never_loosens_either_component(one: Severity, two: Severity) -> None:
    joined = intent.join(one, two)
    assert joined.gate == max(one.gate, two.gate)
    assert joined.life == max(one.life, two.life)


@given(SIGNED, st.data())
def test_any_permutation_and_repetition_of_learning_gives_the_same(signed: list[Order | ResumeCertificate], data: st.DataObject) -> None:
    again = data.draw(st.permutations(signed + signed[: len(signed) // 2]))
    assert summary(learned(signed)) == summary(learned(again))


@given(SIGNED, st.sampled_from(ORDERS))
def test_an_order_never_lowers_what_is_in_force(signed: list[Order | ResumeCertificate], order: Order) -> None:
    before = intent.view(learned(signed), ME).severity
    after = intent.view(learned([*signed, order]), ME).severity
    assert intent.join(before, after) == after


@given(SIGNED, st.sampled_from(CERTIFICATES))
def test_a_certificate_takes_away_only_what_it_lists(signed: list[Order | ResumeCertificate], certificate: ResumeCertificate) -> None:
    known = intent.read_certificate(certificate)
    assert known is not None
    before = {each.id for each in intent.view(learned(signed), ME).uncovered}
    after = {each.id for each in intent.view(learned([*signed, certificate]), ME).uncovered}
    assert after <= before
    assert before - after <= set(known.body.covers)


# -- the laws have teeth -------------------------------------------------------------------------------------------------------------------


def breaks(law: Callable[[list[Order | ResumeCertificate]], bool]) -> bool:
    try:
        find(SIGNED, lambda signed: not law(signed), settings=settings(database=None, derandomize=True, max_examples=500))
    except NoSuchExample:
        return False
    return True


def is_confluent(signed: list[Order | ResumeCertificate]) -> bool:
    return summary(learned(signed)) == summary(learned(signed[::-1]))


def test_a_chain_of_severities_is_no_join(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intent, "join", chain_of_severities)
    assert intent.join(ISOLATE, SOFT) == SOFT, "and so the gate is opened again by a second order"
    loosened = [(one, two) for one in FIVE for two in FIVE if intent.join(one, two).gate < max(one.gate, two.gate)]
    assert loosened == [(ISOLATE, SOFT), (SOFT, ISOLATE)]


def test_a_register_is_not_confluent(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not breaks(is_confluent)
    monkeypatch.setattr(intent, "lifts", lifts_everything_older)
    assert breaks(is_confluent)


def test_last_order_wins_is_not_confluent(monkeypatch: pytest.MonkeyPatch) -> None:
    def last_wins(state: Intent, known: intent.KnownOrder) -> bool:
        state.orders = {known.id: known}
        state.version += 1
        state._views, state._digest = {}, ""
        return True

    monkeypatch.setattr(intent, "add_order", last_wins)
    assert breaks(is_confluent)


def test_digests_tell_a_lifted_order_from_a_standing_one() -> None:
    lifted, standing = learned([ORDERS[0], CERTIFICATES[0]]), learned([ORDERS[0]])
    assert intent.digest(lifted) != intent.digest(standing)
