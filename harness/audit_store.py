"""The audit trail of a kept run, on disk: every record that its nodes left, and the keys to check it with.

Owns the files below ``audit/`` of a kept run. Must not know what records mean, nor what an auditor may see of them.

``trail.jsonl`` is the linear view of all logs (`audit_merge`): one record a line, causes before effects. ``keyring.json`` holds what
verifies signatures: public keys, or for a simulated world the secret that all its nodes share, which makes its signatures a stand-in
for real ones and no more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
from msgspec import Struct

from killswitch.core import audit_merge
from killswitch.core.audit_merge import Stamped
from killswitch.core.events import Record
from killswitch.core.keys import Ed25519, KeyedHash, Signer

FOLDER = "audit"
TRAIL_FILE = "trail.jsonl"
KEYRING_FILE = "keyring.json"


class Trail(NamedTuple):
    """``logs``: {node: (its records, {lsn: stamp})}. ``secret``: of the simulated world that they come from; ``public``: the keys of a live one."""

    logs: Mapping[str, tuple[Sequence[Record], Mapping[int, int]]]
    secret: bytes = b""
    public: Mapping[str, bytes] = {}


class Keyring(Struct, frozen=True):
    """``scheme`` ed25519: ``public`` is {name: raw key}; simulated: ``secret`` verifies and signs alike. ``witnesses``: who may cosign."""

    scheme: Literal["ed25519", "simulated"]
    witnesses: tuple[str, ...]
    public: dict[str, bytes] = {}
    secret: bytes = b""

    def verifier(self) -> Signer:
        """Holds no key to sign with. Raises `ValueError` for a public key that is not 32 bytes."""
        return KeyedHash(self.secret, ()) if self.scheme == "simulated" else Ed25519({}, self.public)


def keep(place: Path, trail: Trail | None) -> None:
    """Write the trail of a kept run below ``place``; without one, nothing."""
    if trail is None:
        return
    folder = place / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    stamped = (
        Stamped(writer, record, stamps.get(record.seq, 0)) for writer, (records, stamps) in trail.logs.items() for record in records
    )  # fmt: skip
    (folder / TRAIL_FILE).write_bytes(msgspec.json.Encoder().encode_lines(audit_merge.linear(audit_merge.union(stamped))))
    witnesses = tuple(sorted(writer for writer in trail.logs if writer.startswith("replica/")))
    scheme: Literal["ed25519", "simulated"] = "ed25519" if trail.public else "simulated"
    keyring = Keyring(scheme, witnesses, public=dict(trail.public), secret=trail.secret)
    (folder / KEYRING_FILE).write_bytes(msgspec.json.encode(keyring) + b"\n")


def load(place: Path) -> dict[str, list[Record]]:
    """{writer: its records} of a kept run, from the run's folder. Raises `ValueError` naming the file and line that is missing or broken."""
    file = place / FOLDER / TRAIL_FILE
    decoder = msgspec.json.Decoder(Stamped)
    logs: dict[str, list[Record]] = {}
    for number, line in enumerate(read(file).splitlines(), start=1):
        try:
            entry = decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{file}:{number}: {error}; the file is broken, or of another version") from error
        logs.setdefault(entry.writer, []).append(entry.record)
    return {writer: sorted(records, key=lambda record: record.seq) for writer, records in logs.items()}


def load_keyring(file: Path) -> Keyring:
    """Raises `ValueError` naming the file if it is missing or broken."""
    try:
        return msgspec.json.decode(read(file), type=Keyring)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{file}: {error}; a keyring holds scheme, witnesses, and public or secret") from error


def read(file: Path) -> bytes:
    """Raises `ValueError` naming a file that cannot be read."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise ValueError(f"{file}: cannot be read ({error.strerror}); a kept run is a folder such as out/run/runs/NAME-SEED") from error
