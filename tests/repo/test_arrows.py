"""The arrows between rooms: an import that is not one of them is a fault of design, whatever it would make easier."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.repo.modules import ROOMS, ROOT, Module, imports, modules, within

# What the two drivers share. No checker is among it: a driver that knew what is judged could not be believed.
BOTH_DRIVERS = ("harness.shared", "scenarios")

# Who may import what of this project; the longest prefix that fits a module speaks for it. Read beside docs/architecture.md.
ARROWS: dict[str, tuple[str, ...]] = {
    "killswitch.core": ("killswitch.core",),
    "killswitch": ("killswitch",),
    "killswitch.files": (),
    "killswitch.output": (),
    "scenarios": ("scenarios", "killswitch.core", "killswitch.files", "harness.shared.history"),
    "harness.shared": ("harness.shared", "killswitch.core", "scenarios"),
    "harness.shared.history": (),
    "harness.shared.implementation": ("harness.planted", "killswitch.core"),
    "harness.shared.judge": ("killswitch.core",),
    "harness.verdict": (),
    "harness.ranks": (),
    "harness.results": ("harness.verdict",),
    "harness.digests": ("killswitch.core.unreadable", "killswitch.files"),
    "harness.results_store": (
        "harness.shared.history",
        "harness.digests",
        "harness.results",
        "harness.verdict",
        "killswitch.core.unreadable",
        "killswitch.files",
        "scenarios.schedule",
    ),
    "harness.planted": ("harness.planted", "killswitch.core"),
    "harness.checkers": ("harness.checkers", "harness.shared.history", "harness.results", "harness.verdict"),
    "harness.live": ("harness.live", *BOTH_DRIVERS, "killswitch"),
    "sim": ("sim", *BOTH_DRIVERS, "killswitch.core"),
    "reports": ("reports", "harness.ranks", "harness.shared.history", "harness.results", "harness.results_store", "harness.verdict"),
    "harness": ROOMS,
}

# A pure core: no clock, no chance, no disk, no network, no threads. What it does need is named here, and nothing else is let in.
CORE_MAY_USE = frozenset({
    "__future__", "base64", "collections", "contextlib", "dataclasses", "enum", "functools", "hashlib", "hmac", "importlib", "itertools", "json",
    "operator", "types", "typing", "cedarpy", "cryptography", "msgspec",
})  # fmt: skip


def speaks_for(name: str) -> str:
    """The entry of `ARROWS` that rules a module."""
    return max((prefix for prefix in ARROWS if within(name, prefix)), key=len)


@pytest.mark.parametrize("module", modules(), ids=lambda module: module.name)
def test_a_module_imports_only_along_the_arrows(module: Module) -> None:
    allowed = ARROWS[speaks_for(module.name)]
    wrong = [
        f"{module.path.relative_to(ROOT)}:{each.line}: {each.target}"
        for each in imports(module)
        if each.target.partition(".")[0] in (*ROOMS, "tests", "benchmarks") and not any(within(each.target, prefix) for prefix in allowed)
    ]
    assert not wrong, f"{speaks_for(module.name)} may import {allowed or 'nothing of the project'}: {wrong}"


def test_every_arrow_starts_somewhere() -> None:
    names = {module.name for module in modules()}
    idle = [prefix for prefix in ARROWS if not any(within(name, prefix) for name in names)]
    assert not idle, f"arrows of rooms that do not exist: {idle}"


@pytest.mark.parametrize("module", modules("killswitch/core"), ids=lambda module: module.name)
def test_the_core_reaches_for_nothing_outside_itself(module: Module) -> None:
    strangers = {each.target.partition(".")[0] for each in imports(module)} - CORE_MAY_USE - {"killswitch"}
    assert not strangers, f"{module.path.relative_to(ROOT)}: {sorted(strangers)}"


def test_no_modules_import_each_other() -> None:
    names = {module.name for module in modules()}
    arrows = {
        module.name: sorted({home for each in imports(module) if not each.typing_only and (home := home_of(each.target, names))} - {module.name})
        for module in modules()
    }
    cycles = [sorted(component) for component in components(arrows) if len(component) > 1]
    assert not cycles, f"modules that need each other are one module, or need a third: {cycles}"


def home_of(target: str, names: set[str]) -> str:
    """The module that an imported dotted name is, or lies in; empty if it is none of ours."""
    if target in names:
        return target
    parent = target.rpartition(".")[0]
    return parent if parent in names else ""


def components(arrows: dict[str, list[str]]) -> list[list[str]]:
    """Strongly connected components (Tarjan 1972)."""
    found: list[list[str]] = []
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for target in arrows[name]:
            if target not in order:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], order[target])
        if low[name] == order[name]:
            component = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            found.append(component)

    for name in arrows:
        if name not in order:
            visit(name)
    return found


def test_components_finds_a_cycle() -> None:
    assert sorted(map(sorted, components({"a": ["b"], "b": ["c"], "c": ["b"], "d": []}))) == [["a"], ["b", "c"], ["d"]]


@pytest.mark.parametrize("room", ROOMS)
def test_every_folder_of_modules_is_a_package(room: str) -> None:
    folders = {path.parent for path in (ROOT / room).rglob("*.py")}
    assert folders, f"{room} is empty"
    bare = [str(folder.relative_to(ROOT)) for folder in sorted(folders) if not (folder / "__init__.py").is_file()]
    assert not bare, f"no __init__.py in {bare}"


def test_every_module_can_be_imported_on_its_own_terms() -> None:
    """In one fresh interpreter, with warnings as errors; a module with a `__main__` guard does nothing on import."""
    program = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n"
        "        importlib.import_module(name)\n"
        "    except BaseException as error:\n"
        "        print(f'{name}: {type(error).__name__}: {error}')\n"
    )
    names = [module.name for module in modules() if not module.name.endswith("__main__")]
    done = subprocess.run([sys.executable, "-W", "error", "-c", program, *names], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == ""
