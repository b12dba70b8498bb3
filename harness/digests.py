"""Whether the files of results are still what was written: a digest of each stands in ``campaign.json``, and that file bears a seal over itself.

Owns digests, the seal, and the search for the campaign that a file belongs to. Must not know what any of these files says. A digest has no key: it
shows that somebody edited a file, and cannot show that somebody made up a whole directory, digests and all.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from killswitch import files
from killswitch.core import unreadable

CAMPAIGN_FILE: Final = "campaign.json"
DIGEST_BYTES: Final = 16
SCHEMAS: Final = "haltproof/campaign/"  # what the schema of every version of it begins with
UNSEALED: Final = "0" * 2 * DIGEST_BYTES
DEPTH_MAX: Final = 4  # campaign.json lies at most so many folders above a file of its results


class Origin(Struct, frozen=True):
    """What ``campaign.json`` says of where results come from: who was played, {file, relative to it: digest}, and its seal; neither of these
    in results that are older than digests."""

    schema: str = ""
    implementation: str = ""
    files: dict[str, str] = {}
    seal: str = ""


def digest(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).hexdigest()


def of_files(out: Path, files: Iterable[str], folders: Iterable[str]) -> dict[str, str]:
    """{file: digest} of ``files`` and of all that lies below ``folders``, by paths relative to ``out``."""
    places = [*(out / file for file in files), *(place for folder in folders for place in (out / folder).rglob("*") if place.is_file())]
    return {place.relative_to(out).as_posix(): digest(place.read_bytes()) for place in sorted(places)}


def with_seal(content: bytes, seal: str, former: str = UNSEALED) -> bytes:
    """A ``campaign.json`` with ``seal`` in the place of its ``former`` one, which is its last field."""
    before, found, after = content.rpartition(former.encode())
    return before + seal.encode() + after if found else content


def _seal_problem(place: Path, seal: str) -> str:
    """Why the ``campaign.json`` at ``place``, which bears ``seal``, is not the one that was sealed; empty if it is. Its seal is the digest of what it
    was with `UNSEALED` for one."""
    if not seal:
        return f"{place}: seal: there is none, and it holds digests: it was changed after it was written"
    content = files.content(place)
    found = digest(with_seal(content, UNSEALED, seal))
    return "" if found == seal else _changed(place, content, found, seal, "its seal")


def problems(out: Path, files: Mapping[str, str], seal: str) -> Iterator[tuple[str, str]]:
    """(file, ``place: problem``) of ``campaign.json``, which says what its ``files`` were and bears ``seal``, and of each of those that is not
    what it was. One that is gone is missed by whoever reads it."""
    if broken := _seal_problem(out / CAMPAIGN_FILE, seal):
        yield CAMPAIGN_FILE, broken
    for file, stated in files.items():
        place = out / file
        if place.is_file() and digest(content := place.read_bytes()) != stated:
            yield file, _changed(place, content, digest(content), stated, CAMPAIGN_FILE)


def origin(file: Path) -> Origin | None:
    """Where a file of results comes from; None of one that lies by itself, or beside a ``campaign.json`` that cannot be read. Raises `ValueError` if
    the file, or the ``campaign.json`` that speaks of it, was changed after it was written."""
    place = Path(os.path.realpath(file))
    for out in place.parents[:DEPTH_MAX]:
        found = origin_of(out)
        if found is None:
            continue
        name = place.relative_to(out).as_posix()
        stated = {name: found.files[name]} if name in found.files else {}
        for _, problem in problems(out, stated, found.seal) if found.files or found.seal else ():
            raise ValueError(f"{problem}; restore it, or play its run again; what is edited on purpose belongs into another folder")
        return found
    return None


def origin_of(out: Path) -> Origin | None:
    """What the ``campaign.json`` in a folder says of it; None if there is none that can be read."""
    try:
        return msgspec.json.decode(files.content(out / CAMPAIGN_FILE), type=Origin)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def is_ours(out: Path) -> bool:
    """Whether the ``campaign.json`` in a folder is one of any version of Haltproof."""
    found = origin_of(out)
    return found is not None and found.schema.startswith(SCHEMAS)


def repeated(place: Path) -> Iterator[str]:
    """The keys that stand twice in one object of a file, each as ``place: problem``; a line's number is part of the place."""
    if place.is_file():
        yield from (f"{place}{problem}" for problem in _repeated(place, files.content(place)))


def _changed(place: Path, content: bytes, found: str, stated: str, where: str) -> str:
    twice = next((f"; {place}{problem}" for problem in _repeated(place, content)), "")
    return f"{place}: was changed after it was written (its digest is {found}, {where} says {stated}){twice}"


def _repeated(place: Path, content: bytes) -> Iterator[str]:
    if place.suffix == ".jsonl":
        for number, line in enumerate(content.splitlines(), start=1):
            yield from (f":{number}: {problem}" for problem in unreadable.repeated(line))
    elif place.suffix == ".json":
        yield from (f": {problem}" for problem in unreadable.repeated(content))
