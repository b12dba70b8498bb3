"""A development PKI: a root, an authority, and for each node a short-lived certificate, a signing key and the sealing keys of its circle.

Owns the making of keys and certificates and the folder that they lie in. Must not know what they are used for. A production cell has its
certificates from elsewhere (a SPIRE server, say): whatever puts ``certificate.pem``, ``key.pem`` and ``roots.pem`` in the same places will do.

    DIR/roots.pem                     whom everybody believes           DIR/root.key, DIR/authority.{key,pem}   keep these off line
    DIR/public.json                   {name: public signing key}        DIR/NODE/certificate.pem, key.pem       mutual TLS
    DIR/sealing.json                  the keys of every circle; off     DIR/NODE/signing.key                    Ed25519, raw
                                      line, too                         DIR/NODE/sealing.json                   keys of the node's own circle

Certificates say who speaks; signing keys sign orders, approvals and evidence, end to end; sealing keys hide what is said from those whom it does not
concern (protocol 3.2). Private files are their owner's only.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from killswitch.core import unreadable
from killswitch.core.keys import Ed25519
from killswitch.live import spiffe
from killswitch.live.credentials import Files
from killswitch.live.sealing import Ring, circle_of, new_ring, read_rings, turned
from killswitch.live.spiffe import SYSTEM

ROOT_VALID = datetime.timedelta(days=3650)
AUTHORITY_VALID = datetime.timedelta(days=365)
CERTIFICATE_VALID = datetime.timedelta(days=1)
BACKDATED = datetime.timedelta(minutes=5)  # clocks of one cell differ, and a certificate that is not valid yet stops nobody

PEM = serialization.Encoding.PEM
PUBLIC = "public.json"
SEALING = "sealing.json"


class Pki:
    """The folder ``directory`` of one trust domain; made if it is not there. Raises `OSError` where it cannot be read or written.

    ``backdated``: by how much what it signs is valid already, and for how long at least. An experiment that moves wall clocks needs more of that than
    a cell does.
    """

    def __init__(self, directory: Path, domain: str, backdated: datetime.timedelta = BACKDATED) -> None:
        if not spiffe.DOMAIN.fullmatch(domain):
            raise ValueError(f"trust domain: lower-case letters, digits, dots, dashes and underscores (got {domain!r})")
        self._directory = directory
        self._domain = domain
        self._backdated = backdated
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o700)
        if not (directory / "authority.key").exists():
            self._found()
        self._authority = x509.load_pem_x509_certificate((directory / "authority.pem").read_bytes())
        self._authority_key = _load_key(directory / "authority.key")

    def issue(self, nodes: Iterable[str], valid: datetime.timedelta = CERTIFICATE_VALID) -> None:
        """A fresh certificate for each node, and signing keys for those that have none yet: a signing key is an identity, and stays. So do the keys
        that bodies are sealed with, until they are turned."""
        public = self.public()
        nodes = tuple(nodes)
        for node in nodes:
            place = self.place(node)
            place.mkdir(parents=True, exist_ok=True)
            key = ec.generate_private_key(ec.SECP256R1())
            own = self._sign(_name(node), key.public_key(), valid, spiffe.spiffe_id(self._domain, node))
            # The key first: whoever reads between the two sees a pair that does not fit, and reads again.
            _write_private(place / "key.pem", _pem(key))
            _write(place / "certificate.pem", own.public_bytes(PEM) + self._authority.public_bytes(PEM))
            if not (place / "signing.key").exists():
                name = signing_name(node)
                private, fresh = Ed25519.generate([name])
                _write_private(place / "signing.key", private[name])
                public |= fresh
        self._share(nodes)
        _write(self._directory / PUBLIC, msgspec.json.format(msgspec.json.encode(dict(sorted(public.items()))), indent=1))

    def turn(self, circle: str, nodes: Iterable[str]) -> str:
        """The next of three steps that put a fresh key in the place of a circle's old one, for each of ``nodes`` that has that; what it means.

        Raises `ValueError` for a circle without keys.
        """
        rings = self._rings()
        if circle not in rings:
            raise ValueError(f"--turn: no such tenant; there are keys of {', '.join(sorted(rings)) or 'nobody yet'} (got {circle!r})")
        rings[circle], means = turned(rings[circle])
        self._keep(self._directory / SEALING, rings)
        self._share(nodes)
        return means

    def public(self) -> dict[str, bytes]:
        """{name: public signing key} of everybody."""
        return public_keys(self._directory) if (self._directory / PUBLIC).exists() else {}

    def place(self, node: str) -> Path:
        return place(self._directory, node)

    def files(self, node: str) -> Files:
        return files(self._directory, self._domain, node)

    # -- Sealing keys ------------------------------------------------------------------------------------------------------------------

    def _share(self, nodes: Iterable[str]) -> None:
        """To each node the keys of its circle, and to replicas all. People have none: what they say goes to the API, and not in frames."""
        speaking = [node for node in nodes if not node.startswith("operator/")]
        rings = self._rings()
        missing = {circle_of(node) for node in speaking} - rings.keys()
        if missing:
            rings |= {circle: new_ring() for circle in missing}
            self._keep(self._directory / SEALING, rings)
        for node in speaking:
            own = circle_of(node)
            self._keep(self.place(node) / SEALING, rings if own == SYSTEM else {own: rings[own]})

    def _rings(self) -> dict[str, Ring]:
        file = self._directory / SEALING
        return read_rings(file) if file.exists() else {}

    def _keep(self, file: Path, rings: dict[str, Ring]) -> None:
        _write_private(file, msgspec.json.format(msgspec.json.encode(dict(sorted(rings.items()))), indent=1))

    # -- Authorities -----------------------------------------------------------------------------------------------------------------

    def _found(self) -> None:
        """A root that signs one authority, which signs everybody: the root's key is needed once, and can be locked away."""
        root_key, authority_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        root_name = _name(f"{self._domain} root")
        root = self._authority_certificate(root_name, root_name, root_key, root_key, ROOT_VALID, path_length=1)
        authority = self._authority_certificate(
            _name(f"{self._domain} authority"), root_name, authority_key, root_key, AUTHORITY_VALID, path_length=0
        )
        _write_private(self._directory / "root.key", _pem(root_key))
        _write_private(self._directory / "authority.key", _pem(authority_key))
        _write(self._directory / "roots.pem", root.public_bytes(PEM))
        _write(self._directory / "authority.pem", authority.public_bytes(PEM))

    def _authority_certificate(
        self, subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey,
        valid: datetime.timedelta, path_length: int,
    ) -> x509.Certificate:  # fmt: skip
        within = x509.NameConstraints([x509.UniformResourceIdentifier(self._domain)], None)  # it vouches for this trust domain and no other
        return (
            _builder(subject, issuer, key.public_key(), signer.public_key(), self._validity(valid))
            .add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
            .add_extension(_usage(certificates=True), critical=True)
            .add_extension(within, critical=True)
            .sign(signer, hashes.SHA256())
        )

    def _sign(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, valid: datetime.timedelta, uri: str) -> x509.Certificate:
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri), x509.DNSName("localhost")]
        names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))  # for clients that check host names, such as curl
        return (
            _builder(subject, self._authority.subject, key, self._authority_key.public_key(), self._validity(valid))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .sign(self._authority_key, hashes.SHA256())
        )

    def _validity(self, valid: datetime.timedelta) -> tuple[datetime.datetime, datetime.datetime]:
        now = datetime.datetime.now(datetime.UTC)
        return now - self._backdated, now + max(valid, self._backdated)


def place(directory: Path, node: str) -> Path:
    """The folder of ``node`` below that of a PKI."""
    return directory / node.replace("/", "-")


def files(directory: Path, domain: str, node: str) -> Files:
    """Where the credentials of ``node`` lie in a PKI's folder."""
    own = place(directory, node)
    return Files(domain=domain, certificate=str(own / "certificate.pem"), key=str(own / "key.pem"), roots=str(directory / "roots.pem"))


def sealing_file(directory: Path, node: str) -> Path:
    """Where the sealing keys of ``node`` lie in a PKI's folder."""
    return place(directory, node) / SEALING


def public_keys(directory: Path) -> dict[str, bytes]:
    """{name: public signing key} of everybody. Raises `OSError`, or `ValueError` naming the file."""
    content = (directory / PUBLIC).read_bytes()
    try:
        return msgspec.json.decode(content, type=dict[str, bytes])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{directory / PUBLIC}: {unreadable.why(content, error)}; `killswitch pki` writes it anew") from error


def signing_name(node: str) -> str:
    """The name under which a node's signing key is known: its own, and for people theirs."""
    return node.removeprefix("operator/")


def signing_key(directory: Path, node: str) -> dict[str, bytes]:
    """{name: private key} for the one key that ``node`` signs with. Raises `OSError`."""
    return {signing_name(node): (place(directory, node) / "signing.key").read_bytes()}


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, signer: ec.EllipticCurvePublicKey,
    validity: tuple[datetime.datetime, datetime.datetime],
) -> x509.CertificateBuilder:  # fmt: skip
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(validity[0])
        .not_valid_after(validity[1])
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
    )


def _usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates, key_cert_sign=certificates, crl_sign=certificates, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text[:64])])


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def _load_key(file: Path) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(file.read_bytes(), None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{file}: not an elliptic-curve key (got {type(key).__name__})")  # noqa: TRY004  # the file is wrong, not the caller
    return key


def _write(file: Path, content: bytes, mode: int = 0o644) -> None:
    """Whole or not at all: a process may be reading it."""
    draft = file.with_suffix(".new")
    draft.unlink(missing_ok=True)
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(handle, "wb") as out:
        out.write(content)
    draft.rename(file)


def _write_private(file: Path, content: bytes) -> None:
    _write(file, content, 0o600)
