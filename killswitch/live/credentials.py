"""What a process proves itself with, and how it knows others: mutual TLS 1.3 with SPIFFE ids (protocol 3.2).

Owns TLS contexts and the reading of a peer's verified certificate. Must not know what is said over a connection.

Who a peer is comes from its certificate alone: exactly one URI, of this trust domain. Host names are not looked at, because a node may move
and a proxy may stand before it. Sessions are not resumed: each connection proves itself anew. Files that have changed are read again for the
next connection, so that short-lived certificates are replaced without a restart; open connections stay.

The validity of certificates is the one place where wall time can end a conversation. It can only end permissions: a sidecar that nobody
can reach loses its lease, and its gate closes (T1).
"""

from __future__ import annotations

import ssl
from pathlib import Path

from msgspec import Struct

from killswitch.live import spiffe


class Stranger(Exception):
    """The peer proved to be nobody that may be here, or proved nothing."""


class Files(Struct, frozen=True, kw_only=True):
    """Where credentials lie. ``certificate``: the node's, followed by those that lead to a root. ``roots``: whom to believe."""

    domain: str
    certificate: str
    key: str
    roots: str


class Credentials:
    """The credentials of one node."""

    def __init__(self, files: Files) -> None:
        """Raises `OSError` or `ssl.SSLError` if they cannot be used, naming the file."""
        self._files = files
        self._read: tuple[int, ...] = ()
        self._contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None = None
        self.server()

    @property
    def domain(self) -> str:
        return self._files.domain

    def server(self) -> ssl.SSLContext:
        """For the connection that is being accepted."""
        return self._current()[0]

    def client(self) -> ssl.SSLContext:
        """For the connection that is being opened."""
        return self._current()[1]

    def peer(self, secured: ssl.SSLObject | ssl.SSLSocket | None) -> str:
        """The node at the other end of a connection whose handshake is complete. Raises `Stranger`."""
        certificate = secured.getpeercert() if secured is not None else None
        if not certificate:
            raise Stranger("no certificate")
        uris = [str(name[1]) for name in certificate.get("subjectAltName", ()) if name[0] == "URI"]
        if len(uris) != 1:
            raise Stranger(f"a certificate with {len(uris)} URIs; a SPIFFE certificate has one")
        try:
            return spiffe.node_of(self.domain, uris[0])
        except ValueError as error:
            raise Stranger(str(error)) from None

    def expect(self, node: str, secured: ssl.SSLObject | ssl.SSLSocket | None) -> None:
        """Raises `Stranger` unless the peer is ``node``."""
        found = self.peer(secured)
        if found != node:
            raise Stranger(f"proves to be {found}, not {node}")

    def _current(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        paths = [Path(path) for path in (self._files.certificate, self._files.key, self._files.roots)]
        stamps = tuple(path.stat().st_mtime_ns for path in paths)
        if self._contexts is None or stamps != self._read:
            try:
                fresh = (self._context(ssl.PROTOCOL_TLS_SERVER), self._context(ssl.PROTOCOL_TLS_CLIENT))
            except ssl.SSLError as error:
                if self._contexts is not None:  # caught half-way through a replacement: go on with what is in hand, and look again
                    return self._contexts
                raise ssl.SSLError(error.errno, f"{paths[0]}: {error.strerror or error}; `killswitch pki` makes new ones") from error
            self._contexts, self._read = fresh, stamps
        return self._contexts

    def _context(self, side: int) -> ssl.SSLContext:
        context = ssl.SSLContext(side)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False  # the SPIFFE id is the name, and `peer` checks it
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.load_cert_chain(self._files.certificate, self._files.key)
        context.load_verify_locations(self._files.roots)
        if side == ssl.PROTOCOL_TLS_SERVER:
            context.num_tickets = 0
        return context
