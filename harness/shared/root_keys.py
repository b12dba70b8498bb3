"""The people with the root keys: what they sign when keys change while a cell runs (protocol 3.2).

Owns the one chain of changes that there is, whoever has heard of which part of it. Both drivers have it signed here, and each hands it on in its
own way. Must not know who is told, or when.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from killswitch.core import intent, keysets
from killswitch.core.keychanges import KeyChange, KeysetNews, SignedChange
from killswitch.core.keys import ROOTS, SUCCESSOR, Signer

FIRST = "replica/1"  # whose key is revoked as an issuer's, if nobody has issued anything yet


class RootKeys:
    """``signer`` signs with the root keys. ``public``: {key: its public bytes} of keys to come, for a scheme in which a key is more than its name."""

    def __init__(self, signer: Signer, public: Mapping[str, bytes] | None = None) -> None:
        self._signer = signer
        self._public = public or {}
        self._signed: list[SignedChange] = []
        self._generation: dict[str, int] = {}

    @property
    def news(self) -> KeysetNews:
        """Everything that was ever signed: those people know what they signed before."""
        return KeysetNews(tuple(self._signed))

    @property
    def version(self) -> int:
        """Of the latest keyset; the deployed one has version 1."""
        return len(self._signed) + 1

    def rotate(self, whose: Iterable[str]) -> None:
        """Each of these replicas has a new key for orders, each of these people one beside the old."""
        self._change((), tuple(whose))

    def revoke(self, key: str) -> None:
        """``key`` permits nothing any more; a replica that this takes one from has a new one."""
        whose = key.partition(SUCCESSOR)[0]
        self._change((key,), (whose,) if whose.startswith("replica/") else ())

    def _change(self, revokes: tuple[str, ...], rotated: tuple[str, ...]) -> None:
        for who in rotated:
            self._generation[who] = self._generation.get(who, 1) + 1
        rotates = {who: successor(who, self._generation[who]) for who in rotated}
        public = {key: self._public[key] for key in rotates.values() if key in self._public}
        previous = intent.content_id(self._signed[-1].raw) if self._signed else ""
        change = KeyChange(self.version + 1, previous, revokes, rotates, public)
        self._signed.append(keysets.sign_change(self._signer, change, ROOTS[:2]))


def successor(who: str, generation: int) -> str:
    """What the key of that generation is called; the first goes by the name of who has it."""
    return f"{who}{SUCCESSOR}{generation}"
