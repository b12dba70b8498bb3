"""No file costs more than a bounded time and memory, and every value keeps its place."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from scenarios import document
from scenarios.problems import Place, ScenarioInvalid


def refusal(content: bytes) -> str:
    with pytest.raises(ScenarioInvalid) as refused:
        document.parse(content, "f.yaml")
    return str(refused.value)


def alias_bomb(levels: int) -> bytes:
    """Nine times nine times nine: a few hundred bytes that stand for 9^levels values."""
    names = [f"a{level}" for level in range(levels)]
    lines = [f"{names[0]}: &{names[0]} [x, x, x, x, x, x, x, x, x]"]
    lines += [f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]" for before, name in pairwise(names)]
    return "\n".join(lines).encode()


BROKEN = {
    "empty": (b"", "f.yaml:1:1: file: empty; start with `scenario: a-name`, and see the library for examples"),
    "comment": (b"# later\n", "f.yaml:1:1: file: empty; start with `scenario: a-name`, and see the library for examples"),
    "list": (b"- a\n", "f.yaml:1:1: file: the top level is not a mapping; start with `scenario: a-name`, one key a line"),
    "word": (b"hello\n", "f.yaml:1:1: file: the top level is not a mapping; start with `scenario: a-name`, one key a line"),
    "two documents": (b"a: 1\n---\nb: 1\n", "f.yaml:2:1: file: a second document; keep one scenario a file: remove the '---' and what follows"),
    "tab": (b"a:\n\t- b\n", "f.yaml:2:1: file: a tab where only spaces may stand; indent with spaces"),
    "latin-1": (b"a: b\nc: \xff", "f.yaml:2:4: file: not UTF-8 (got byte 0xff); save the file as UTF-8"),
    "control character": (b"a: \x07", "f.yaml:1:4: file: a character that YAML does not allow (got '\\x07'); remove it"),
    "unclosed": (b"a: [1, 2\n", "f.yaml:2:1: file: not YAML: expected ',' or ']', but got '<stream end>'; "
                 "quote texts that hold ': ' or ' #', and close every quote and bracket"),
    "colon in text": (b"a: b: c\n", "f.yaml:1:5: file: not YAML: mapping values are not allowed here (got 'a: b: c'); "
                      "quote texts that hold ': ' or ' #', and close every quote and bracket"),
    "list as key": (b"? [a]\n: b", "f.yaml:1:3: file: a key that is not a name; write a plain word before the colon"),
    "unknown alias": (b"a: *b", "f.yaml:1:4: file: an alias of nothing before it (got *b); name an anchor that is complete by here"),
    "alias of itself": (b"a: &x [*x]", "f.yaml:1:8: file: an alias of nothing before it (got *x); name an anchor that is complete by here"),
    "alias bomb": (alias_bomb(12), "f.yaml:5:15: file: more than 20000 values, aliases followed; make it smaller, or split it"),
    "deep brackets": (b"a: " + b"[" * 20_000, "f.yaml:1:19: file: nested deeper than 16 levels; flatten it: a scenario needs seven"),
    "deep braces": (b"a: " + b"{b: " * 20_000, "f.yaml:1:64: file: nested deeper than 16 levels; flatten it: a scenario needs seven"),
    "many values": (b"".join(b"k%d: 1\n" % number for number in range(25_000)),
                    "f.yaml:20000:9: file: more than 20000 values, aliases followed; make it smaller, or split it"),
    "large": (b"x" * 300_000, "f.yaml:1:1: file: larger than 256 KiB; split it: one scenario a file"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_is_refused_in_one_exact_line(name: str) -> None:
    content, line = BROKEN[name]
    assert refusal(content) == line


def test_depth_cannot_be_hidden_behind_aliases() -> None:
    nested = "a: &a [[[[[[[x]]]]]]]\nb: &b [[[[[[[*a]]]]]]]\n"
    assert "nested deeper than 16 levels" in refusal(f"{nested}c: [[[*b]]]\n".encode())
    document.parse(nested.encode(), "f.yaml")


def test_an_alias_within_the_limits_stands_for_its_anchor() -> None:
    read = document.parse(b"a: &both {x: 1s, y: 2s}\nb: *both\n", "f.yaml")
    assert read.values == {"a": {"x": "1s", "y": "2s"}, "b": {"x": "1s", "y": "2s"}}


def test_duplicate_keys_and_tags_are_all_told_and_the_first_value_kept() -> None:
    read = document.parse(b"a: 1\na: 2\nb: {c: 1, c: 2}\nd: !!python/object:os.system x\n", "f.yaml")
    assert [str(problem) for problem in read.problems] == [
        "f.yaml:2:1: a: duplicate key (got 'a'); keep one: it stands already at line 1",
        "f.yaml:3:11: b.c: duplicate key (got 'c'); keep one: it stands already at line 3",
        "f.yaml:4:4: d: an explicit tag (got 'tag:yaml.org,2002:python/object:os.system'); remove it: types are known here",
    ]
    assert read.values == {"a": 1, "b": {"c": 1}, "d": "x"}


def test_scalars_are_those_of_yaml_1_2_without_floats() -> None:
    read = document.parse(b"%YAML 1.1\n---\na: [no, on, yes, true, 12, 010, 1.5, 0x10, ~, 'true', 1e3, 1:30, 2020-01-01, 10s..20s]\n", "f.yaml")
    texts = ("no", "on", "yes", True, 12, 10, "1.5", "0x10", None, "true", "1e3", "1:30", "2020-01-01", "10s..20s")
    assert read.values["a"] == texts


def test_a_number_of_any_length_stays_harmless() -> None:
    read = document.parse(b"a: " + b"9" * 100_000, "f.yaml")
    assert read.values["a"] == "9" * 100_000


def test_every_value_and_key_has_its_place() -> None:
    read = document.parse(b"a: 1\nb:\n  - x\n  - {c: 2}\n", "f.yaml")
    assert read.place(("b", 1, "c")) == Place(4, 9)
    assert read.place(("b", 1, "c"), key=True) == Place(4, 6)
    assert read.place(("b", 7, "gone")) == Place(3, 3)
    assert read.value(("b", 0)) == "x"
    with pytest.raises(KeyError):
        read.value(("b", 7))


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    file = tmp_path / "bom.yaml"
    file.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert document.read(file).values == {"a": 1}
