"""The audit trail of a kept run, on disk: every record that its nodes left, and the keys to check it with.

Owns the files below ``audit/`` of a kept run. Must not know what records mean, nor what an auditor may see of them.

``trail.jsonl`` is the linear view of all logs (`audit_merge`): one record a line, causes before effects. ``keyring.json`` holds what
verifies signatures: public keys, or for a simulated world the secret that all its nodes share, which makes its signatures a stand-in
for real ones and no more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from harness import digests
from killswitch import files
from killswitch.core import audit_merge, unreadable
from killswitch.core.audit_merge import Stamped
from killswitch.core.events import Record
from killswitch.core.keys import Ed25519, KeyedHash, Signer

FOLDER = "audit"
TRAIL_FILE = "trail.jsonl"
KEYRING_FILE = "keyring.json"
PLAY_AGAIN = "`haltproof replay RUN/schedule.json --out DIR` plays the run again, and keeps its trail below DIR/runs"


class NotThere(ValueError):
    """A file that cannot be read at all: a name that was mistyped, more often than not."""


class Trail(NamedTuple):
    """``logs``: {node: (its records, {lsn: stamp})}. ``secret``: of the simulated world that they come from; ``public``: the keys of a live one."""

    logs: Mapping[str, tuple[Sequence[Record], Mapping[int, int]]]
    secret: bytes = b""
    public: Mapping[str, bytes] = {}


class Keyring(Struct, frozen=True):
    """``scheme`` ed25519: ``public`` is {name: raw key}; simulated: ``secret`` verifies and signs alike. ``witnesses``: who may cosign.
    ``writers``: {whose logs there are: how many records each has}."""

    scheme: Literal["ed25519", "simulated"]
    witnesses: tuple[str, ...]
    writers: dict[str, Annotated[int, Meta(ge=0)]] = {}
    public: dict[str, bytes] = {}
    secret: bytes = b""

    @property
    def expected(self) -> dict[str, int]:
        """{whose logs an export has to hold, as far as they concern its tenant: how many records each has at the least}."""
        return dict.fromkeys(self.witnesses, 1) | self.writers

    def verifier(self) -> Signer:
        """Holds no key to sign with. Raises `ValueError` for a public key that is not 32 bytes."""
        try:
            return KeyedHash(self.secret, ()) if self.scheme == "simulated" else Ed25519({}, self.public)
        except ValueError as error:
            raise ValueError(f"keyring: public: {error}; take the keyring.json below audit/ of the kept run") from error


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
    writers = {writer: len(records) for writer, (records, _) in sorted(trail.logs.items()) if records}
    keyring = Keyring(scheme, witnesses, writers, dict(trail.public), trail.secret)
    (folder / KEYRING_FILE).write_bytes(msgspec.json.encode(keyring) + b"\n")


def load(place: Path) -> dict[str, list[Record]]:
    """{writer: its records} of a kept run, from the run's folder. Raises `ValueError` naming the file and line that is missing or broken, or the
    file that was changed after it was written."""
    file = place / FOLDER / TRAIL_FILE
    decoder = msgspec.json.Decoder(Stamped)
    logs: dict[str, list[Record]] = {}
    for number, line in enumerate(read(file, "name the folder of a kept run, such as out/run/runs/NAME-SEED").splitlines(), start=1):
        try:
            entry = decoder.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"{file}:{number}: {unreadable.why(line, error)}; the file is broken or cut: {PLAY_AGAIN}") from error
        if twice := unreadable.repeated(line):
            raise ValueError(f"{file}:{number}: {twice[0]}: {PLAY_AGAIN}")
        logs.setdefault(entry.writer, []).append(entry.record)
    if not logs:
        raise ValueError(f"{file}: there is no record in it; {PLAY_AGAIN}")
    digests.origin(file)
    return {writer: sorted(records, key=lambda record: record.seq) for writer, records in logs.items()}


def load_keyring(file: Path) -> Keyring:
    """Raises `ValueError` naming the file if it is missing or broken."""
    content = read(file, "name the keyring.json below audit/ of the kept run with --keys")
    try:
        keyring = msgspec.json.decode(content, type=Keyring)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(
            f"{file}: {unreadable.why(content, error)}; this is no keyring: name the keyring.json below audit/ of the kept run with --keys"
        ) from error
    digests.origin(file)
    wrong = [*unreadable.repeated(content), *_wants(keyring)]
    if wrong:
        raise ValueError("\n".join(f"{file}: {problem}" for problem in wrong))
    return keyring


def _wants(keyring: Keyring) -> Iterator[str]:
    """What a keyring lacks, for want of which a check with it would show nothing."""
    if not keyring.witnesses:
        yield "witnesses: there are none, so nothing could be missed; the keyring of a run names its replicas"
    if not keyring.writers:
        yield (
            "writers: there are none, so nobody would miss the log of a sidecar, an agent or a sink; the keyring of a run says how many records each "
            'has: "writers": {"sidecar/acme/1": 40, ...}'
        )
    if keyring.scheme == "simulated" and not keyring.secret:
        yield "secret: there is none, and what was simulated is verified with it; take the keyring.json below audit/ of the kept run"
    if keyring.scheme == "ed25519":
        keyless = [witness for witness in keyring.witnesses if witness not in keyring.public]
        if keyless:
            yield f"public: no key of {', '.join(keyless)}, so no cosignature of theirs could be verified; the keyring of a run has them all"


def read(file: Path, remedy: str) -> bytes:
    """Raises `NotThere` naming a file that cannot be read, and ``remedy``."""
    try:
        return files.content(file)
    except OSError as error:
        raise NotThere(f"{file}: cannot be read ({error.strerror}); {remedy}") from error
