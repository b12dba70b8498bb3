"""What `killswitch audit verify` says of a file in which there is nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from killswitch.live import auditor
from killswitch.live.exits import Exit


@pytest.mark.parametrize("content", [b"", b"\n"])
def test_an_empty_file_is_unknown_and_not_invalid(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "export.json"
    file.write_bytes(content)
    monkeypatch.setattr(auditor, "_public", lambda _: {"replica/1": b""})
    assert auditor.verify(file, tmp_path / "public.json", "") == Exit.UNKNOWN
    assert capsys.readouterr().out.startswith("unknown: ")
