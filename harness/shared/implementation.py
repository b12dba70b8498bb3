"""Implementations that a driver can play, and how one is found by name.

Owns our own implementation and the loading of others. Planted bugs are implementations, too (``harness.planted``). Knows no driver.
"""

from __future__ import annotations

import importlib
import re
from contextlib import AbstractContextManager, nullcontext

from killswitch.core import build
from killswitch.core.keys import Signer
from killswitch.core.machine import Implementation, Machine, NodeConfig

OURS = "killswitch"
FORM = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


class Killswitch:
    """The implementation of this repository, as it is."""

    name = OURS

    def machine(self, config: NodeConfig, signer: Signer) -> Machine:
        return build.machine(config, signer)

    def installed(self) -> AbstractContextManager[None]:
        return nullcontext()


class ImplementationUnknown(ValueError):
    """No implementation of that name; the message says what there is."""


def load(name: str) -> Implementation:
    """The implementation called ``name``, or the object at ``module:object``. Raises `ImplementationUnknown`."""
    if name == OURS:
        return Killswitch()
    if ":" in name:
        return _imported(name)
    from harness import planted  # planted bugs build on ours

    found = planted.COLLECTION.get(name)
    if found is None:
        raise ImplementationUnknown(
            f"--implementation: no such implementation (got {name!r}); try {OURS}, a planted bug such as B01, or module:object"
        )
    return found


def _imported(name: str) -> Implementation:
    module_name, _, attribute = name.partition(":")
    if not FORM.fullmatch(name):
        raise ImplementationUnknown(f"--implementation: cannot load {name!r} (not two dotted names); the form is module:object")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
        made = found() if isinstance(found, type) else found
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a stranger's module may do anything as it is loaded, and leave by SystemExit too
        why = f"{type(error).__name__}: {error}"
        raise ImplementationUnknown(f"--implementation: cannot load {name!r} ({why}); the form is module:object") from error
    missing = [part for part in ("name", "machine", "installed") if not hasattr(made, part)]
    if missing:
        raise ImplementationUnknown(f"--implementation: {name!r} lacks {', '.join(missing)}; see killswitch.core.machine.Implementation")
    inert = [part for part in ("machine", "installed") if not callable(getattr(made, part))]
    if inert:
        raise ImplementationUnknown(f"--implementation: {' and '.join(inert)} of {name!r} cannot be called; see core.machine.Implementation")
    loaded: Implementation = made
    return loaded
