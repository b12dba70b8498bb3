"""A file of a stranger's is read whole, or refused at once: never waited for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from killswitch import files
from scenarios import load


def test_a_regular_file_is_read_whole(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 100_000)
    assert files.content(tmp_path / "file") == b"x" * 100_000


def test_a_pipe_a_device_and_a_folder_are_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    for name in ("pipe", "device"):
        with pytest.raises(OSError, match="not a regular file"):
            files.content(tmp_path / name)
    with pytest.raises(IsADirectoryError):
        files.content(tmp_path)


def test_what_is_larger_than_it_may_be_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as large:
        large.truncate(files.FILE_BYTES_MAX + 1)  # a hole: it takes no room
    with pytest.raises(OSError, match="larger than 1024 MiB"):
        files.content(tmp_path / "large")


def test_a_pipe_in_the_place_of_a_scenario_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="not a regular file"):
        load.load(tmp_path / "pipe")
