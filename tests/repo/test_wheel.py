"""What lands in site-packages: the rooms, all of their files, nothing else; and a command that works from anywhere."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.repo.modules import ROOMS, ROOT

pytestmark = pytest.mark.slow


def run(*command: str, cwd: Path, **environment: str) -> str:
    """Standard output; the test fails with both streams if the command does."""
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT), cwd=out)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_top_level_names_are_the_rooms(names: list[str]) -> None:
    tops = {name.partition("/")[0] for name in names}
    metadata = {top for top in tops if top.endswith(".dist-info")}
    assert tops - metadata == set(ROOMS)
    assert len(metadata) == 1
    assert metadata.pop().startswith("haltproof-")


def source_files() -> Iterator[str]:
    """Every file of the rooms that is not made by running them."""
    for room in ROOMS:
        for path in (ROOT / room).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc":
                yield path.relative_to(ROOT).as_posix()


def test_every_file_of_the_rooms_is_in_it(names: list[str]) -> None:
    assert {name for name in names if ".dist-info/" not in name} == set(source_files())


@pytest.mark.parametrize(
    "needed",
    ["killswitch/core/policies/default.cedar", "scenarios/schema.json", "reports/templates/page.html.j2", "scenarios/library/quiet-fleet.yaml"],
)
def test_what_is_read_at_run_time_is_in_it(names: list[str], needed: str) -> None:
    assert needed in names


def test_the_license_travels_along(names: list[str]) -> None:
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_the_command_works_from_another_directory(wheel: Path, tmp_path: Path) -> None:
    """Installed beside the dependencies of this very interpreter, and found before any checkout."""
    site = tmp_path / "site"
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    run(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(site), str(wheel), cwd=elsewhere)
    home = run(sys.executable, "-c", "import harness; print(harness.__file__)", cwd=elsewhere, PYTHONPATH=str(site))
    assert Path(home.strip()).is_relative_to(site)
    listed = run(sys.executable, str(site / "bin" / "haltproof"), "list", cwd=elsewhere, PYTHONPATH=str(site))
    library = [path.stem for path in (ROOT / "scenarios" / "library").glob("*.yaml")]
    assert library
    assert [name for name in library if name not in listed] == []
