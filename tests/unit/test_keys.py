"""Signatures and authority: one conformance test for every signing scheme, and the keyset's lookup."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from msgspec import structs

from killswitch.core import keys
from killswitch.core.keys import Ed25519, Grant, KeyedHash, Keyset, Signer

NAMES = ("replica/1", "replica/2", "bob", "b")
Node = Callable[[Iterable[str]], Signer]


def hashing(holds: Iterable[str]) -> Signer:
    return KeyedHash(b"one world", holds)


def signing() -> Node:
    private, public = Ed25519.generate(NAMES)
    return lambda holds: Ed25519({name: private[name] for name in holds}, public)


@pytest.fixture(params=["keyed hash", "ed25519"])
def node(request: pytest.FixtureRequest) -> Node:
    """Makes the signer of a node that holds the keys of the names given."""
    return hashing if request.param == "keyed hash" else signing()


class TestConformance:
    def test_every_node_verifies_what_one_signed(self, node: Node) -> None:
        for content in (b"", b"order", bytes(100_000)):
            signature = node(["replica/1"]).sign("replica/1", keys.ORDER, content)
            assert node([]).verify("replica/1", keys.ORDER, content, signature)

    def test_signatures_are_deterministic(self, node: Node) -> None:
        signer = node(["replica/1"])
        assert signer.sign("replica/1", keys.ORDER, b"x") == signer.sign("replica/1", keys.ORDER, b"x")

    def test_another_key_domain_content_or_signature_does_not_verify(self, node: Node) -> None:
        signer = node(NAMES)
        signature = signer.sign("replica/1", keys.ORDER, b"content")
        assert not signer.verify("replica/2", keys.ORDER, b"content", signature)
        assert not signer.verify("replica/1", keys.ORDER, b"content ", signature)
        assert not signer.verify("replica/1", keys.ORDER, b"content", signature[:-1])
        assert not signer.verify("replica/1", keys.ORDER, b"content", signature + b"\0")
        for position in range(len(signature)):
            changed = bytearray(signature)
            changed[position] ^= 1
            assert not signer.verify("replica/1", keys.ORDER, b"content", bytes(changed))

    def test_no_domain_stands_for_another(self, node: Node) -> None:
        signer = node(NAMES)
        for domain in keys.DOMAINS:
            signature = signer.sign("bob", domain, b"content")
            assert [other for other in keys.DOMAINS if signer.verify("bob", other, b"content", signature)] == [domain]

    def test_name_and_content_do_not_run_into_each_other(self, node: Node) -> None:
        signer = node(NAMES)
        assert not signer.verify("b", keys.ORDER, b"obx", signer.sign("bob", keys.ORDER, b"x"))
        assert not signer.verify("b", keys.ORDER, b"x", signer.sign("bob", keys.ORDER, b"x"))

    def test_a_node_signs_with_its_own_keys_only(self, node: Node) -> None:
        with pytest.raises(KeyError, match="replica/2"):
            node(["replica/1"]).sign("replica/2", keys.ORDER, b"x")

    @pytest.mark.parametrize("arguments", [
        ("nobody", "order", b"x", b"s"), ("bob", "no-domain", b"x", b"s"), ("bob", "order", b"x", b""), ("\ud800", "order", b"x", b"s"),
        ("bob", "\ud800", b"x", b"s"), (None, "order", b"x", b"s"), ("bob", None, b"x", b"s"), ("bob", "order", None, b"s"),
        ("bob", "order", b"x", None), ("bob", "order", "x", "s"), ("bob", "order", b"x", "é"), ("bob", "order", b"x", 7),
    ])  # fmt: skip
    def test_verify_is_total(self, node: Node, arguments: tuple[str, str, bytes, bytes]) -> None:
        assert node(NAMES).verify(*arguments) is False


def test_keyed_hashes_of_different_worlds_do_not_verify() -> None:
    assert not KeyedHash(b"one world").verify("bob", keys.ORDER, b"x", KeyedHash(b"another").sign("bob", keys.ORDER, b"x"))


def test_a_keyed_hash_knows_where_a_name_ends() -> None:
    """A name that ends like the frame of a content begins would otherwise stand for a shorter name."""
    signer = KeyedHash(b"one world")
    longer = signer.sign("bob" + keys.framed(keys.ORDER, b"").decode(), keys.ORDER, b"x")
    assert not signer.verify("bob", keys.ORDER, keys.framed(keys.ORDER, b"x"), longer)


def test_ed25519_agrees_with_the_vector_of_rfc_8032() -> None:
    """Section 7.1, TEST 1: the key derived from the secret is the published one."""
    secret = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    signature = Ed25519({"k": secret}, {}).sign("k", keys.ORDER, b"x")
    assert Ed25519({}, {"k": public}).verify("k", keys.ORDER, b"x", signature)


def test_ed25519_refuses_keys_of_the_wrong_size_at_start() -> None:
    with pytest.raises(ValueError, match="32"):
        Ed25519({"bob": b"short"}, {})


class TestAuthority:
    KEYSET = keys.default_keyset(["replica/1"], ["sidecar/acme/1", "sidecar/acme/2"])

    def may(self, key: str, action: str, tenant: str = "acme", scope: str = "tenant", gate: int = 2, life: int = 2) -> bool:
        return keys.authorised(self.KEYSET, key, action, tenant, scope, gate, life)

    @pytest.mark.parametrize(("key", "action"), [
        ("alice", keys.REQUEST), ("bob", keys.APPROVE_RESUME), ("carol", keys.APPROVE_RESUME), ("dave", keys.APPROVE_RESUME),
        ("replica/1", keys.SIGN_ORDER), ("sidecar/acme/1", keys.GIVE_EVIDENCE),
    ])  # fmt: skip
    def test_each_role_may_do_its_own_action_and_no_other(self, key: str, action: str) -> None:
        assert [each for each in keys.ROLE_OF_ACTION if self.may(key, each)] == [action]

    def test_nobody_else_may_do_anything(self) -> None:
        assert not any(self.may(key, action) for key in ("mallory", "replica/9", "", "*") for action in (*keys.ROLE_OF_ACTION, "pardon"))

    def test_tenants_compare_whole_and_global_takes_every_tenant(self) -> None:
        keyset = Keyset(1, {"ann": (Grant(keys.OPERATOR, ("acme",)),), "root": (Grant(keys.OPERATOR, ("*",)),)})
        cases = [("acme", "tenant"), ("acme2", "tenant"), ("acm", "agent"), ("", "agent"), ("*", "tenant"), ("acme", "global")]
        assert [keys.authorised(keyset, "ann", keys.REQUEST, *case) for case in cases] == [True, False, False, False, False, False]
        assert all(keys.authorised(keyset, "root", keys.REQUEST, *case) for case in cases)

    def test_a_grant_has_a_ceiling_and_unknown_severity_is_above_it(self) -> None:
        keyset = Keyset(1, {"ann": (Grant(keys.OPERATOR, ("acme",), gate=2, life=0),), "top": (Grant(keys.OPERATOR, ("acme",)),)})
        asked = [(2, 0), (0, 0), (1, 1), (2, 2), (2, 9), (2, -1)]
        assert [keys.authorised(keyset, "ann", keys.REQUEST, "acme", "tenant", *each) for each in asked] == [True, True, False, False, False, False]
        assert all(keys.authorised(keyset, "top", keys.REQUEST, "acme", "tenant", *each) for each in [*asked, (99, 99)])

    def test_revocation_takes_permissions_and_no_prohibition(self) -> None:
        revoked = structs.replace(self.KEYSET, version=2, revoked=frozenset({"replica/1", "alice", "bob", "sidecar/acme/1"}))
        assert keys.authorised(revoked, "replica/1", keys.SIGN_ORDER, "acme", "tenant", 2, 2)
        assert not keys.authorised(revoked, "alice", keys.REQUEST, "acme", "tenant", 2, 2)
        assert not keys.authorised(revoked, "bob", keys.APPROVE_RESUME, "acme", "tenant")
        assert not keys.authorised(revoked, "sidecar/acme/1", keys.GIVE_EVIDENCE, "acme", "agent")
        assert not keys.speaks_for(revoked, "sidecar/acme/1", "acme/1")

    def test_only_its_own_sidecar_speaks_for_an_agent(self) -> None:
        speakers = [key for key in (*self.KEYSET.grants, "sidecar/acme/11", "mallory") if keys.speaks_for(self.KEYSET, key, "acme/1")]
        assert speakers == ["sidecar/acme/1"]
        assert not keys.speaks_for(self.KEYSET, "alice", "")
