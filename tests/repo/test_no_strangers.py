"""Nothing in the repository belongs to the machine that it was written on: no paths, no addresses of package indexes; and pins that hold."""

from __future__ import annotations

import re
import subprocess
import tempfile
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.repo.modules import ROOT

COMMON_FOLDERS = {"/", "/home", "/opt", "/usr", "/usr/src", "/app", "/src", "/builds", tempfile.gettempdir()}
INDEX = re.compile(r"index-url|/simple(/|\b)|files\.pythonhosted|find-links\s*=|(?i:artifactory|devpi|proxpi)")
PIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[0-9][0-9A-Za-z.+!]*")


def tracked() -> list[Path]:
    """What git holds or would: everything that is not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout: nobody says which files belong to it")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def lines_with(pattern: re.Pattern[str], *, but: Path) -> list[str]:
    found = []
    for path in tracked():
        if path == but:
            continue
        text = path.read_text("utf-8", errors="ignore")
        found += [f"{path.relative_to(ROOT)}:{number}" for number, line in enumerate(text.splitlines(), start=1) if pattern.search(line)]
    return found


def test_no_file_names_a_path_of_this_machine() -> None:
    around = {str(ROOT.parent), str(Path.home())} - COMMON_FOLDERS
    places = [re.escape(str(ROOT)) + r"\b", *(re.escape(folder) + "/" for folder in sorted(around))]
    pattern = re.compile(rf"(?<![\w.])({'|'.join(places)})")
    assert lines_with(pattern, but=Path(__file__)) == []


def test_no_file_names_a_package_index() -> None:
    assert lines_with(INDEX, but=Path(__file__)) == []


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text("utf-8").splitlines()
    return dict(line.split("==") for line in lines if not line.startswith("#"))


def test_every_constraint_is_a_name_and_a_version() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines() if not line.startswith("#")]
    assert lines
    assert [line for line in lines if not PIN.fullmatch(line)] == []


def test_every_requirement_is_pinned_within_what_it_allows() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    held = {canonicalize_name(name): version for name, version in pins().items()}
    wanted = [Requirement(text) for text in (*project["dependencies"], *project["optional-dependencies"]["dev"])]
    unpinned = [str(each) for each in wanted if canonicalize_name(each.name) not in held]
    assert unpinned == [], "run `make constraints`"
    assert [str(each) for each in wanted if not each.specifier.contains(held[canonicalize_name(each.name)], prereleases=True)] == []


def test_pins_are_what_this_environment_holds() -> None:
    """A pin written by hand may fit no other; whoever sets up next would be the first to find out."""
    held = {canonicalize_name(each.name): each.version for each in metadata.distributions()}
    other = {name: held.get(canonicalize_name(name), version) for name, version in pins().items()}
    assert other == pins(), "run `make constraints`, then `make venv-dev`"
