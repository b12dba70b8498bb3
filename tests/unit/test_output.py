"""Who reads along with a command may leave; no other pipe that breaks is taken for that."""

from __future__ import annotations

import subprocess
import sys

import pytest

BREAK_ANOTHER = "import os; read, write = os.pipe(); os.close(read); os.write(write, b'x')"
RUNS = {"haltproof": ("harness", "cli", "answer"), "killswitch": ("killswitch.live", "command", "run")}


def code_of(program: str, *, reader_leaves: bool) -> tuple[int, str]:
    """Its exit code, and what it says on standard error."""
    child = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdin is not None
    assert child.stdout is not None
    if reader_leaves:
        child.stdout.close()
        child.stdout = None
    _, said = child.communicate("go\n", timeout=60)
    return child.returncode, said


def program(command: str, does: str) -> str:
    """One that waits for a line, and is then the ``command``, with a command line that ``does`` so."""
    package, module, run = RUNS[command]
    return f"import sys\nfrom {package} import {module}\ndef app(*_, **__):\n  {does}\n{module}.app = app\ninput()\nsys.exit(int({module}.{run}([])))"


@pytest.mark.parametrize("command", RUNS)
def test_a_reader_who_leaves_ends_a_command_in_silence(command: str) -> None:
    assert code_of(program(command, "print('an answer')"), reader_leaves=True) == (141, "")


@pytest.mark.parametrize("command", RUNS)
def test_nor_does_one_who_leaves_before_the_help_is_printed_change_that(command: str) -> None:
    package, module, run = RUNS[command]
    helps = f"import sys\nfrom {package} import {module}\ninput()\nsys.exit(int({module}.{run}(['--help'])))"
    assert code_of(helps, reader_leaves=True) == (141, "")


@pytest.mark.parametrize("command", RUNS)
def test_another_pipe_that_breaks_is_a_bug_and_said_to_be(command: str) -> None:
    code, said = code_of(program(command, BREAK_ANOTHER), reader_leaves=False)
    assert code == 70
    assert "BrokenPipeError" in said
    assert "this is a bug of" in said


@pytest.mark.parametrize("command", RUNS)
def test_who_is_interrupted_says_so_and_calls_it_no_bug(command: str) -> None:
    package, module, run = RUNS[command]
    made = f"import sys\nfrom {package} import {module}\n@{module}.app.command\ndef wait():\n  raise KeyboardInterrupt\ninput()\n"
    code, said = code_of(f"{made}sys.exit(int({module}.{run}(['wait'])))", reader_leaves=False)
    assert code == 130
    assert "bug" not in said
