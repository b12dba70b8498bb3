"""The adapter against a real server: what it says happened did happen to real bytes, and every error has its name."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from harness.live import server as server_module
from harness.live.guard import NotLoopback
from harness.live.ports import free_port
from harness.live.server import Server, ServerMissing
from harness.live.toxiproxy import DOWNSTREAM, UPSTREAM, NotAsAsked, ProxyState, Refused, Toxic, Toxiproxy, Unreachable

pytestmark = pytest.mark.live


@contextmanager
def echo_server() -> Iterator[int]:
    """A port that sends back whatever it gets."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=reflect, args=(connection,), daemon=True).start()

    def reflect(connection: socket.socket) -> None:
        with connection:
            try:
                while piece := connection.recv(4096):
                    connection.sendall(piece)
            except OSError:
                return

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()


def round_trip(port: int, deadline_s: float = 0.4) -> float | str:
    """Seconds that an echo took, or what happened instead."""
    began = time.monotonic()
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=deadline_s) as connection:
            connection.sendall(b"ping")
            connection.settimeout(deadline_s)
            return time.monotonic() - began if connection.recv(16) == b"ping" else "closed"
    except TimeoutError:
        return "silence"
    except ConnectionRefusedError:
        return "refused"
    except ConnectionResetError:
        return "reset"


@pytest.fixture
def toxiproxy(server: Server) -> Toxiproxy:
    return Toxiproxy(server.host, server.port)


@pytest.fixture
def link(toxiproxy: Toxiproxy) -> Iterator[int]:
    """The port of a proxy named ``link`` in front of an echo server."""
    with echo_server() as upstream:
        port = free_port()
        toxiproxy.create("link", f"127.0.0.1:{port}", f"127.0.0.1:{upstream}")
        yield port


def test_each_fault_does_to_real_bytes_what_it_says_and_heals(toxiproxy: Toxiproxy, link: int) -> None:
    assert isinstance(round_trip(link), float)

    toxiproxy.cut("link")
    assert round_trip(link) == "refused"
    toxiproxy.restore("link")

    toxiproxy.add("link", Toxic("late", "latency", UPSTREAM, 150), Toxic("late-too", "latency", DOWNSTREAM, 100))
    slow = round_trip(link, 2.0)
    assert isinstance(slow, float) and 0.25 <= slow < 1.5
    toxiproxy.add("link", Toxic("late", "latency", UPSTREAM, 10))  # an update, not a second toxic
    assert len(toxiproxy.remove("link", "late-too", "never-there").toxics) == 1
    toxiproxy.remove("link", "late")

    for stream in (UPSTREAM, DOWNSTREAM):
        toxiproxy.add("link", Toxic("hole", "timeout", stream, 0))
        assert round_trip(link) == "silence"
        toxiproxy.remove("link", "hole")

    toxiproxy.add("link", Toxic("reset", "reset_peer", DOWNSTREAM, 0))
    assert round_trip(link) in ("reset", "closed")
    toxiproxy.remove("link", "reset")
    assert isinstance(round_trip(link), float)


def test_a_black_hole_closes_its_open_connections_when_it_heals(toxiproxy: Toxiproxy, link: int) -> None:
    with socket.create_connection(("127.0.0.1", link), timeout=2) as connection:
        connection.sendall(b"before")
        assert connection.recv(16) == b"before"
        toxiproxy.add("link", Toxic("hole", "timeout", UPSTREAM, 0))
        connection.sendall(b"lost for good")
        toxiproxy.remove("link", "hole")
        assert connection.recv(16) == b""


def test_a_proxy_is_created_with_its_toxics_in_force(toxiproxy: Toxiproxy) -> None:
    with echo_server() as upstream:
        port = free_port()
        toxic = Toxic("hole", "timeout", UPSTREAM, 0)
        made = toxiproxy.create("holed", f"127.0.0.1:{port}", f"127.0.0.1:{upstream}", (toxic,))
        assert made == ProxyState(f"127.0.0.1:{port}", f"127.0.0.1:{upstream}", enabled=True, toxics=(toxic,))
        assert round_trip(port) == "silence"


def test_a_proxy_that_locked_up_is_made_anew(toxiproxy: Toxiproxy, link: int, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, hole = Toxic("slow", "latency", UPSTREAM, 60), Toxic("hole", "timeout", DOWNSTREAM, 0)
    toxiproxy.add("link", slow, hole)
    real = toxiproxy._call

    def locked_up(verb: str, path: str, document: dict[str, object] | None = None) -> object:
        if (verb, path) == ("delete", "/proxies/link/toxics/hole"):
            raise Refused("status 503")  # what the server says once removing has hung
        return real(verb, path, document)

    monkeypatch.setattr(toxiproxy, "_call", locked_up)
    assert toxiproxy.remove("link", "hole").toxics == (slow,)
    trip = round_trip(link, 2.0)
    assert isinstance(trip, float) and trip >= 0.06


def test_errors_have_names(toxiproxy: Toxiproxy, link: int, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Refused, match="NotFound"):
        toxiproxy.cut("nowhere")
    with pytest.raises(Refused, match="ProxyExists"):
        toxiproxy.create("link", f"127.0.0.1:{free_port()}", "127.0.0.1:1")
    with pytest.raises(ValueError, match="latncy"):
        Toxic("misspelt", "latncy", UPSTREAM, 5)
    with pytest.raises(NotLoopback):
        toxiproxy.create("far", f"127.0.0.1:{free_port()}", "192.0.2.1:80")

    # Two proxies on one port: the server says 500 and leaves it disabled, which the client library takes for success.
    with echo_server() as upstream, pytest.raises((Refused, NotAsAsked)):
        toxiproxy.create("second", f"127.0.0.1:{link}", f"127.0.0.1:{upstream}")

    monkeypatch.setattr("harness.live.toxiproxy.CALL_S", 0.2)
    os.kill(server.pid, signal.SIGSTOP)
    try:
        with pytest.raises(Unreachable, match="timed out"):
            toxiproxy.cut("link")
        assert "does not answer" in server.why_dead()
    finally:
        os.kill(server.pid, signal.SIGCONT)
    server.stop()
    with pytest.raises(Unreachable):
        toxiproxy.state("link")
    assert "status -9" in server.why_dead()


def test_an_http_proxy_in_the_environment_is_not_used(toxiproxy: Toxiproxy, link: int, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert toxiproxy.state("link").enabled
    assert server.why_dead() == ""


def test_the_server_dies_with_a_harness_that_is_killed(toxiproxy_binary: Path, tmp_path: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from harness.live.server import Server\n"
        f"print(Server(Path({str(toxiproxy_binary)!r}), Path({str(tmp_path / 'log')!r})).pid, flush=True); time.sleep(60)"
    )
    harness = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert harness.stdout is not None
    pid = int(harness.stdout.readline())
    os.kill(pid, 0)
    harness.kill()
    harness.communicate()
    deadline = time.monotonic() + 5
    while Path(f"/proc/{pid}").exists() and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline, "the server outlived its harness"
        time.sleep(0.01)


def test_a_server_that_cannot_be_had_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(server_module.SETTING, str(tmp_path / "nothing"))
    with pytest.raises(ServerMissing, match="not an executable file"):
        server_module.bring()
    monkeypatch.delenv(server_module.SETTING)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(ServerMissing, match="make live-deps"):
        server_module.locate()
