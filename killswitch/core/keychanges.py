"""What root keys say of all others, as data: changes of the keyset and how they travel (protocol 3.2).

Owns the structs, so that messages and records can hold them. Must not know how a change is judged (``keysets``) or what it causes.
"""

from __future__ import annotations

from msgspec import Struct


class KeyChange(Struct, frozen=True):
    """The keyset of ``version`` as a change of the one before, whose id ``previous`` is (empty: the deployed keyset). It travels as signed bytes.

    ``revokes``: keys that may permit nothing any more; there is no field that takes a revocation back. ``rotates``: {who: the key that he signs
    with from now on, with the authority of the one before}. ``public``: {new key: its public bytes}. ``roots`` and ``threshold``: who signs
    the next change; empty and 0 leave that as it is.
    """

    version: int
    previous: str
    revokes: tuple[str, ...] = ()
    rotates: dict[str, str] = {}
    public: dict[str, bytes] = {}
    roots: tuple[str, ...] = ()
    threshold: int = 0


class RootSignature(Struct, frozen=True, array_like=True):
    """One root key's signature over exactly the bytes of a change."""

    key: str
    signature: bytes


class SignedChange(Struct, frozen=True):
    """A change and the signatures of enough root keys, old and new: it proves itself, whoever hands it on."""

    raw: bytes
    signatures: tuple[RootSignature, ...]


class KeysetNews(Struct, frozen=True, tag=True):
    """Changes that the receiver seems to lack, oldest first."""

    changes: tuple[SignedChange, ...]
