"""Other Python interpreters of this machine, each with an environment of its own that holds what a run needs.

Owns finding them and filling the environments, once, below ``out/.interpreters``. Must not know what is tried with them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.repo.modules import ROOT

CACHE = ROOT / "out" / ".interpreters"
NEEDED = ("cedarpy", "cryptography", "msgspec", "pydantic", "ruamel.yaml", "simpy", "xxhash")  # by the core, the scenarios and the simulator
INSTALL_S = 240
WHICH = "import sys; print('%d.%d' % sys.version_info[:2])"


class NotHere(Exception):
    """No such interpreter, or nothing can be installed for it; the message says which."""


def environment(version: str) -> Path:
    """The interpreter of an environment of Python ``version`` (such as 3.13) that can play a run. Raises `NotHere`."""
    base = next((found for found in _candidates(version) if _is(found, version)), None)
    if base is None:
        raise NotHere(f"no python{version} on PATH or below PYENV_ROOT")
    pins = (ROOT / "constraints.txt").read_bytes()
    place = CACHE / f"{version}-{hashlib.sha256(pins + repr(NEEDED).encode()).hexdigest()[:12]}"
    python = place / "bin" / "python"
    if not (place / "filled").exists():
        shutil.rmtree(place, ignore_errors=True)
        _do(version, str(base), "-m", "venv", str(place))
        _do(version, str(python), "-m", "pip", "install", "--quiet", "--no-input", "--constraint", str(ROOT / "constraints.txt"), *NEEDED)
        (place / "filled").touch()
    return python


def _candidates(version: str) -> Iterator[Path]:
    on_path = shutil.which(f"python{version}")
    if on_path:
        yield Path(on_path)
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from sorted(root.glob(f"versions/{version}.*/bin/python{version}"), reverse=True)


def _is(python: Path, version: str) -> bool:
    """Whether it runs and is what its name says; a shim of pyenv may be neither."""
    try:
        said = subprocess.run(
            [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"], capture_output=True, text=True, timeout=30, check=False
        )
    except OSError:
        return False
    return said.stdout.strip() == version


def _do(version: str, *command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, stdin=subprocess.DEVNULL, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotHere(f"python{version}: {error}") from error
    if done.returncode:
        raise NotHere(f"python{version}: {' '.join(command[1:4])} failed: {done.stderr.strip()[-300:]}")
