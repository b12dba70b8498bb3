"""Keys that change while nodes run: what a change needs, what it leaves alone, and orders that come before the keyset that knows their key."""

from __future__ import annotations

import pytest
from msgspec import structs

from killswitch.core import codec, intent, keys, keysets, trust
from killswitch.core.intent import HARD, SOFT
from killswitch.core.keychanges import KeyChange, KeysetNews, RootSignature, SignedChange
from killswitch.core.keys import ROOTS, Ed25519, KeyedHash, Signer
from killswitch.core.messages import Gossip, IntentRead, IntentReply, LeaseReply, Message, Order, OrderBody, OrderPush, StartRequest
from killswitch.core.replica.state import WITHHELD_MAX
from killswitch.core.scopes import Scope
from killswitch.core.stamps import Stamps
from killswitch.core.trust import Trust
from tests.unit import pair
from tests.unit.one_sided import FIRST, ONE, THREE, TWO, alone, ask_lease, draft, drafts
from tests.unit.pair import AGENT, REPLICAS, SECOND, SIDECAR, TRUST, Link, cell, guarded, id_of, mode

NEW_KEYS = {replica: f"{replica}#2" for replica in REPLICAS}


def chain(*changes: KeyChange, roots: tuple[str, ...] = ROOTS[:2], signer: Signer = pair.SIGNER) -> KeysetNews:
    """The changes, numbered and linked, each signed by ``roots``."""
    signed: list[SignedChange] = []
    for change in changes:
        previous = intent.content_id(signed[-1].raw) if signed else ""
        signed.append(keysets.sign_change(signer, structs.replace(change, version=len(signed) + 2, previous=previous), roots))
    return KeysetNews(tuple(signed))


ROTATION = KeyChange(2, "", rotates=NEW_KEYS)
LOST_BOB = KeyChange(2, "", revokes=("bob",))


def under_new_key(severity: intent.Severity = HARD, replica: str = "replica/1") -> Order:
    later = TRUST._replace(keyset=keysets.changed(TRUST.keyset, ROTATION, "x"))
    body = structs.replace(_body(severity), nonce=f"under a new key {severity}")
    return trust.sign_order(later, replica, body)


def _body(severity: intent.Severity) -> OrderBody:
    known = intent.read_order(pair.order(severity))
    assert known is not None
    return known.body


def keyset(link: Link, node: str) -> keys.Keyset:
    found: keys.Keyset = link[node].state.trust.keyset
    return found


# -- what a change needs


@pytest.mark.parametrize(
    ("roots", "believed"),
    [(ROOTS[:2], True), (ROOTS, True), (ROOTS[:1], False), ((ROOTS[0], ROOTS[0]), False), (("alice", "bob", "replica/1"), False), ((), False)],
)
def test_a_change_takes_two_distinct_roots(roots: tuple[str, ...], believed: bool) -> None:
    link = cell()
    link.tell("replica/1", chain(ROTATION, roots=roots), "operator")
    assert [keyset(link, replica).version for replica in REPLICAS] == [1 + believed] * 3


def test_new_roots_have_to_sign_as_well_as_the_old() -> None:
    fresh = ("root/new/1", "root/new/2")
    change = KeyChange(2, "", roots=fresh, threshold=2)
    for roots, believed in ((ROOTS, False), (fresh, False), ((*ROOTS[:2], fresh[0]), False), ((*ROOTS[:2], *fresh), True)):
        signed = keysets.sign_change(pair.SIGNER, change, roots)
        assert keysets.signed_by_roots(TRUST, signed, change) is believed


def test_no_change_is_skipped_taken_twice_or_taken_from_another_history() -> None:
    news = chain(ROTATION, LOST_BOB)
    link = cell()
    link.tell("replica/1", KeysetNews(news.changes[1:]), "operator")
    assert keyset(link, "replica/1").version == 1
    link.tell("replica/1", KeysetNews((*news.changes, *news.changes)), "operator")
    assert keyset(link, "replica/1").version == 3
    other = chain(LOST_BOB, LOST_BOB, KeyChange(4, "", revokes=("carol",)))
    link.tell("replica/1", other, "operator")
    assert keyset(link, "replica/1").revoked == frozenset({"bob"})


@pytest.mark.parametrize("raw", [b"", b"\x80", b"\xc1" * 40, b"\x81\xa7version\x05", bytes(1 << 19)])
def test_what_is_no_change_changes_nothing(raw: bytes) -> None:
    link = cell()
    signatures = tuple(RootSignature(root, pair.SIGNER.sign(root, keys.KEYSET, raw)) for root in ROOTS)
    link.tell(SIDECAR, KeysetNews((SignedChange(raw, signatures),)), "nobody")
    assert keyset(link, SIDECAR).version == 1


def test_a_change_reaches_everybody_and_survives_a_restart() -> None:
    link = cell()
    link.tell("replica/2", chain(ROTATION, LOST_BOB), "operator")
    link.run(3 * SECOND)
    for node in (*REPLICAS, SIDECAR):
        assert keyset(link, node).version == 3
        assert link[node].kinds().count("KEYSET") == 2
        before = link[node].machine.digest()
        link.boot(node, boot="boot-2")
        assert keyset(link, node).revoked == frozenset({"bob"})
        assert node.startswith("sidecar") or link[node].machine.digest() == before


def test_a_new_public_key_verifies_and_cannot_replace_an_old_one() -> None:
    private, public = Ed25519.generate([*ROOTS, *REPLICAS, "replica/1#2"])
    new_public = public.pop("replica/1#2")
    holder = Ed25519(private, public)
    change = KeyChange(2, "", rotates={"replica/1": "replica/1#2"}, public={"replica/1#2": new_public, "replica/2": new_public, "short": b"x"})
    signed = keysets.sign_change(holder, change, ROOTS[:2])
    state = pair.build.machine(pair.config(SIDECAR), Ed25519({}, public)).state  # type: ignore[attr-defined]
    keysets.install(state, signed, change)
    own = Trust(holder, state.trust.keyset, 2)
    order = trust.sign_order(own, "replica/1", _body(HARD))
    assert order.signer == "replica/1#2"
    assert trust.read_order(state.trust, order) is not None
    assert trust.read_order(state.trust, structs.replace(order, signer="replica/2")) is None
    old = trust.sign_order(own._replace(keyset=TRUST.keyset), "replica/2", _body(HARD))
    assert trust.read_order(state.trust, old) is not None


def test_a_replica_that_lacks_its_new_key_signs_with_its_first() -> None:
    later = TRUST._replace(keyset=keysets.changed(TRUST.keyset, KeyChange(2, "", rotates={"replica/1": "elsewhere"}), "x"))
    own = later._replace(signer=KeyedHash(b"a cell of fakes", ["replica/1"]))
    assert trust.read_order(TRUST, trust.sign_order(own, "replica/1", _body(HARD))) is not None


# -- revocation


def test_orders_under_a_revoked_key_stand_and_new_ones_are_under_its_successor() -> None:
    link = cell()
    link.tell(SIDECAR, OrderPush((pair.order(SOFT),), ()))
    link.tell("replica/1", chain(KeyChange(2, "", revokes=("replica/1",), rotates={"replica/1": "replica/1#2"})), "operator")
    link.run(2 * SECOND)
    assert mode(link) == ("CLOSED", "STOPPED")
    later = pair.order(HARD)
    assert trust.read_order(link["replica/2"].state.trust, later) is not None
    assert trust.sign_order(link["replica/1"].state.trust, "replica/1", _body(HARD)).signer == "replica/1#2"


def test_a_revoked_approver_voids_what_is_not_accepted_yet_and_nothing_that_is() -> None:
    kill = pair.order(HARD)
    certificate = pair.resume(kill)
    for first, accepted in (("certificate", True), ("news", False)):
        link = cell()
        link.tell(SIDECAR, OrderPush((kill,), ()))
        messages: list[Message] = [OrderPush((), (certificate,)), chain(LOST_BOB)]
        for message in messages if first == "certificate" else reversed(messages):
            link.tell(SIDECAR, message)
        assert (id_of(certificate) in link[SIDECAR].state.intent.in_force) is accepted


def test_two_keys_of_one_approver_are_one_approver() -> None:
    rotated = TRUST._replace(keyset=keysets.changed(TRUST.keyset, KeyChange(2, "", rotates={"bob": "bob#2", "alice": "alice#2"}), "x"))
    kill = pair.order(HARD)
    for approvers, enough in ((("bob", "bob#2"), False), (("bob#2", "carol"), True), (("bob", "bob"), False)):
        known = trust.read_certificate(rotated, pair.resume(kill, approvers=approvers))
        assert (known is not None) is enough


# -- an order comes before the keyset


def test_an_order_under_an_unknown_key_is_obeyed_at_once_and_verified_in_the_step_that_brings_its_keyset() -> None:
    link = guarded()
    kill = under_new_key()
    link.tell(SIDECAR, OrderPush((kill,), ()), "replica/2")
    assert mode(link) == ("CLOSED", "KILLING")
    assert not link[SIDECAR].state.intent.orders
    link.tell(SIDECAR, chain(ROTATION), "replica/3")
    assert id_of(kill) in link[SIDECAR].state.intent.orders
    assert not link[SIDECAR].state.floors.held
    assert mode(link) == ("CLOSED", "KILLING")


def test_only_a_replica_is_believed_that_way_and_only_by_those_whom_the_order_is_for() -> None:
    link = guarded()
    link.tell(SIDECAR, OrderPush((under_new_key(),), ()), "sidecar/acme/2")
    link.tell(SIDECAR, OrderPush((structs.replace(under_new_key(), signer="replica/1"),), ()), "replica/2")  # a known key, and not its signature
    elsewhere = structs.replace(_body(HARD), tenant="globex", scope=Scope("tenant", "globex"))
    link.tell(SIDECAR, OrderPush((Order(codec.pack(elsewhere), "replica/1#9", b""),), ()), "replica/2")
    assert mode(link) == ("OPEN", "RUNNING")


def test_a_replica_grants_nothing_against_an_order_that_it_cannot_verify_yet() -> None:
    link = cell()
    link.cut = lambda sender, to, message: (sender, to) == ("replica/1", "replica/3")  # it would say that it has no later keyset
    link.tell("replica/3", Gossip("", orders=(under_new_key(),)), "replica/1")
    for _ in range(3):
        link.run(SECOND)
    denials = [reply.why for reply in link["replica/3"].sent(LeaseReply) if not reply.len_ns]
    assert "order under an unknown key" in denials
    link.tell("replica/3", chain(ROTATION), "operator")
    link.run(2 * SECOND)
    assert all(len(link[replica].state.intent.orders) == 1 for replica in REPLICAS)
    assert mode(link) == ("CLOSED", "STOPPED")


def vouching(agent: str = AGENT) -> Link:
    """One replica that has promised an agent its first token."""
    link = alone()
    link.tell(ONE, StartRequest(agent, FIRST, ""), f"sidecar/{agent}")
    link.run(SECOND)
    return link


def holds_back(link: Link, agent: str = AGENT) -> bool:
    why = ask_lease(link, agent=agent).why
    assert why in ("", "order under an unknown key")
    return bool(why)


@pytest.mark.parametrize(
    ("said", "waits"),
    [
        ("since then, of this keyset", False),
        ("since then, of a later one", True),
        ("before", True),
        ("in an earlier boot of here", True),
        ("by another", True),
        ("nothing of clocks", True),
    ],
)
def test_an_order_waits_for_no_keyset_that_its_sender_has_not_either(said: str, waits: bool) -> None:
    link = vouching()
    assert not holds_back(link)
    link.tell(ONE, Gossip("", orders=(under_new_key(),)), TWO)
    heard_ns = link.now if said == "before" else link.now + 1
    stamps = Stamps("boot-1", 0, "boot-0" if "boot" in said else "boot-1", heard_ns)
    keyset = 2 if "later" in said else 1
    link.run(SECOND)
    link.tell(ONE, Gossip("", keyset=keyset, clocks=None if "nothing" in said else stamps), THREE if said == "by another" else TWO)
    assert holds_back(link) is waits


def test_an_order_that_two_handed_on_waits_for_the_keyset_of_either() -> None:
    link = vouching()
    for peer in (TWO, THREE):
        link.tell(ONE, Gossip("", orders=(under_new_key(),)), peer)
    for peer, waits in ((TWO, True), (THREE, False)):
        link.tell(ONE, Gossip("", clocks=Stamps("boot-1", 0, "boot-1", link.now + 1)), peer)
        assert holds_back(link) is waits


def test_more_orders_than_are_kept_wait_for_the_keysets_of_all_who_handed_them_on() -> None:
    """Of the one too many nothing is kept but who handed it on."""
    link = vouching("globex/1")
    flood = tuple(structs.replace(under_new_key(), raw=codec.pack(structs.replace(_body(HARD), nonce=str(number)))) for number in range(WITHHELD_MAX))
    link.tell(ONE, Gossip("", orders=flood), TWO)
    link.tell(ONE, Gossip("", orders=(under_new_key(),)), THREE)
    for peer, waits in ((TWO, True), (THREE, False)):
        link.tell(ONE, Gossip("", clocks=Stamps("boot-1", 0, "boot-1", link.now + 1)), peer)
        assert holds_back(link, "globex/1") is waits


def test_a_draft_waits_for_the_keyset_of_an_order_that_it_cannot_verify_yet() -> None:
    link = alone()
    kill = under_new_key()
    link.tell(ONE, draft(), "operator")
    link.tell(ONE, IntentReply(link[ONE].sent(IntentRead)[-1].nonce, (kill,), (), True, 1), TWO)
    assert not drafts(link)
    link.tell(ONE, chain(ROTATION), "operator")
    (shown,) = drafts(link)
    body = trust.read_draft(shown.raw)
    assert body is not None
    assert body.covers == (id_of(kill),)


def test_a_floor_ends_when_its_sender_has_answered_in_full_without_it() -> None:
    link = cell()
    link.tell(SIDECAR, OrderPush((under_new_key(SOFT),), ()), "replica/2")
    assert link[SIDECAR].state.floors.severity == intent.QUIESCE
    link.run(2 * SECOND)
    assert link[SIDECAR].state.floors.severity == intent.RUN
    link.run(12 * SECOND)
    assert mode(link) == ("OPEN", "RUNNING")
    assert link[SIDECAR].kinds().count("SECURITY") == 1
