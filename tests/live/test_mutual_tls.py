"""Mutual TLS on real sockets: who has a certificate is who it says, everybody else is turned away and put on record."""

from __future__ import annotations

import asyncio
import datetime
import ssl
import stat
import time
from pathlib import Path

import pytest

from harness.live.ports import free_port
from killswitch.core import audit, codec
from killswitch.core.messages import GateNotice, Message, Query
from killswitch.live import frames
from killswitch.live.access import BURST, AccessLog
from killswitch.live.clock import NodeClock
from killswitch.live.credentials import Credentials
from killswitch.live.frames import Hello, Kind
from killswitch.live.log import SqliteLog
from killswitch.live.pki import Pki
from killswitch.live.transport import Deadlines, Transport
from tests.live.scenes import play, until

pytestmark = pytest.mark.live

DOMAIN = "test.example"
NODES = ("replica/1", "replica/2", "sidecar/acme/1", "sink/acme/ledger", "operator/alice")
QUICK = Deadlines(ping_s=0.05, silence_s=0.5)


class End:
    """A transport with an inbox, and the list of whom it turned away."""

    def __init__(self, pki: Pki | None, node: str, tenant: str = "") -> None:
        self.messages: list[tuple[str, Message]] = []
        self.refused: list[tuple[str, str]] = []
        credentials = Credentials(pki.files(node)) if pki else None
        self.transport = Transport(node, tenant, "cell", self.deliver, QUICK, credentials=credentials, refused=self.refuse)

    async def deliver(self, sender: str, message: Message) -> None:
        self.messages.append((sender, message))

    def refuse(self, why: str, who: str) -> None:
        self.refused.append((why, who))


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    made = Pki(tmp_path_factory.mktemp("pki"), DOMAIN)
    made.issue(NODES)
    return made


def test_peers_with_certificates_speak_both_ways_over_tls_1_3(pki: Pki) -> None:
    async def scene() -> None:
        port, replica, sidecar = free_port(), End(pki, "replica/1"), End(pki, "sidecar/acme/1", "acme")
        await replica.transport.listen(port)
        sidecar.transport.dial("replica/1", port)
        sidecar.transport.send("replica/1", Query("acme/1", "k"))
        await until(lambda: bool(replica.messages))
        replica.transport.send("sidecar/acme/1", GateNotice(1))
        await until(lambda: bool(sidecar.messages))
        assert replica.messages == [("sidecar/acme/1", Query("acme/1", "k"))]
        assert sidecar.messages == [("replica/1", GateNotice(1))]
        assert replica.refused == sidecar.refused == []
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=Credentials(pki.files("replica/2")).client())
        assert writer.get_extra_info("ssl_object").version() == "TLSv1.3"
        writer.transport.abort()
        await sidecar.transport.close()
        await replica.transport.close()

    play(scene)


async def knock(port: int, context: ssl.SSLContext | None, *sent: bytes) -> bytes:
    """Connect, say ``sent``, and read until the other side ends it."""
    writer = None
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        writer.write(b"".join(sent))
        return await asyncio.wait_for(reader.read(), 2)
    except (OSError, EOFError):
        return b""
    finally:
        if writer is not None:
            writer.transport.abort()


def bare_client(version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    return context


def test_strangers_are_turned_away_before_a_word_of_theirs_is_read(pki: Pki, tmp_path: Path) -> None:
    async def scene() -> None:
        port, replica = free_port(), End(pki, "replica/1")
        await replica.transport.listen(port)
        said = frames.pack_message(0, codec.encode(Query("acme/1", "k"), "sidecar/acme/1", "replica/1", "acme"))
        hello = frames.pack_hello(Hello("cell", "sidecar/acme/1", "replica/1"))
        elsewhere = Pki(tmp_path / "elsewhere", DOMAIN)  # the right name, from the wrong root
        elsewhere.issue(["sidecar/acme/1"])
        foreign = Credentials(elsewhere.files("sidecar/acme/1")).client()
        foreign.verify_mode = ssl.CERT_NONE
        lapsed = Pki(tmp_path / "lapsed", DOMAIN)
        lapsed.issue(["sidecar/acme/1"], datetime.timedelta(seconds=-60))
        expired = Credentials(lapsed.files("sidecar/acme/1")).client()
        expired.verify_mode = ssl.CERT_NONE

        for context in (None, bare_client(), bare_client(ssl.TLSVersion.TLSv1_2), foreign, expired):
            before = len(replica.refused)
            assert frames.pack(Kind.PONG, b"p") not in await knock(port, context, frames.pack(Kind.PING, b"p"), hello, said)
            await until(lambda before=before: len(replica.refused) > before)  # type: ignore[misc]
            assert replica.refused[-1][0].startswith("handshake: ") and replica.refused[-1][1].startswith("127.0.0.1:")
        honest = Credentials(pki.files("sink/acme/ledger")).client()
        await knock(port, honest, hello, said)  # a good certificate, and another's name
        await until(lambda: "not sidecar/acme/1" in replica.refused[-1][0])
        assert replica.refused[-1][1].startswith("sink/acme/ledger at ")
        assert replica.messages == []
        await replica.transport.close()

    play(scene)


def test_a_client_speaks_to_nobody_but_the_peer_it_dialled(pki: Pki, tmp_path: Path) -> None:
    async def scene() -> None:
        port, other, sidecar = free_port(), End(pki, "replica/2"), End(pki, "sidecar/acme/1", "acme")
        await other.transport.listen(port)
        sidecar.transport.dial("replica/1", port)
        await until(lambda: bool(sidecar.refused))
        assert sidecar.refused[0] == ("proves to be replica/2, not replica/1", f"replica/1 at 127.0.0.1:{port}")
        await sidecar.transport.close()
        await other.transport.close()
        elsewhere = Pki(tmp_path / "elsewhere", DOMAIN)
        elsewhere.issue(["replica/1"])
        impostor, again = End(elsewhere, "replica/1"), End(pki, "sidecar/acme/1", "acme")
        await impostor.transport.listen(port)
        again.transport.dial("replica/1", port)
        await until(lambda: bool(again.refused))
        assert again.refused[0][0].startswith("certificate: ")
        assert impostor.messages == other.messages == []
        await again.transport.close()
        await impostor.transport.close()

    play(scene)


def test_without_credentials_nothing_but_the_loopback_interface_is_spoken_to() -> None:
    async def scene() -> None:
        bare = End(None, "replica/1").transport
        with pytest.raises(ValueError, match="without credentials"):
            await bare.listen(0, "0.0.0.0")
        with pytest.raises(ValueError, match="without credentials"):
            bare.dial("replica/2", 1, "192.0.2.1")
        await bare.close()

    play(scene)


def test_renewed_certificates_serve_the_next_connection_without_a_restart(tmp_path: Path) -> None:
    pki = Pki(tmp_path, DOMAIN)
    pki.issue(["replica/1"])
    credentials = Credentials(pki.files("replica/1"))
    first = credentials.server()
    assert credentials.server() is first
    time.sleep(0.01)
    pki.issue(["replica/1"])
    assert credentials.server() is not first
    signing = (pki.place("replica/1") / "signing.key").read_bytes()
    pki.issue(["replica/1"])
    assert (pki.place("replica/1") / "signing.key").read_bytes() == signing


def test_private_files_are_their_owners_only(pki: Pki) -> None:
    directory = pki.place("replica/1").parent
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    keys = [path for path in directory.rglob("*") if path.suffix == ".key" or path.name == "key.pem"]
    assert len(keys) == 2 + 2 * len(NODES)
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys} == {0o600}


def test_refusals_are_a_chain_of_records_limited_in_rate_and_counted(tmp_path: Path) -> None:
    async def scene() -> None:
        log = AccessLog(tmp_path / "access.db", NodeClock())
        for number in range(BURST + 30):
            log.refused(f"why {number}", "who")
        await until(lambda: not log._writing)
        log._allowance = 1.0
        log.refused("later", "who")
        await until(lambda: not log._writing)
        assert await log.record("DECISION", {"allowed": False}) == BURST + 2
        log.close()

    play(scene)
    kept = SqliteLog(tmp_path / "access.db")
    records, cut_bytes = kept.load()
    kept.close()
    assert (audit.verify(records), cut_bytes) == (BURST + 2, 0)
    assert audit.content(records[BURST])["suppressed"] == 30
    asyncio.run(_append_again(tmp_path))


async def _append_again(directory: Path) -> None:
    log = AccessLog(directory / "access.db", NodeClock())
    assert await log.record("DECISION", {"allowed": True}) == BURST + 3  # the chain goes on where it ended
    log.close()
