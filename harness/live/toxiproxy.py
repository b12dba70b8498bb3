"""The one way to the Toxiproxy server: every call bounded in time, every change read back, every error by its name.

Owns proxies and toxics. Must not know what a link or a fault is. Built on the client library's request layer, whose class attributes
are made per server here; its objects are not used, because a failed ``enable()`` looks enabled there, nothing times out, and
a toxic cannot be updated. The server validates almost nothing (a toxicity of 7 is accepted, and so is a misspelt attribute), so that
everything is checked before it is sent and compared after.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import requests
from msgspec import Struct
from toxiproxy.api import APIConsumer
from toxiproxy.exceptions import InvalidToxic, NotFound, ProxyExists

from harness.live.guard import loopback

CALL_S = 4.0  # the server itself gives up after two seconds, and says so

UPSTREAM = "upstream"  # client to server
DOWNSTREAM = "downstream"

# Toxic -> its attributes. Chances, jitter and variation are never used: the server rolls them per connection, from a seed that has no effect.
ATTRIBUTES: Mapping[str, tuple[str, ...]] = {
    "latency": ("latency",),
    "bandwidth": ("rate",),
    "timeout": ("timeout",),
    "reset_peer": ("timeout",),
    "slicer": ("average_size", "delay"),
    "limit_data": ("bytes",),
    "slow_close": ("delay",),
}


class ToxiproxyFailed(Exception):
    """The server could not be reached, refused, or did something else than it was asked."""


class Unreachable(ToxiproxyFailed):
    """No answer within the time-out."""


class Refused(ToxiproxyFailed):
    """The server answered with an error."""


class NotAsAsked(ToxiproxyFailed):
    """The server said yes, and what is read back differs."""


class Toxic(Struct, frozen=True, order=True):
    """``stream`` is UPSTREAM or DOWNSTREAM; ``value`` is the attribute's: milliseconds (a timeout of 0 is a black hole), kB/s, or bytes.

    ``pause_us``: what a slicer waits after each of its pieces; nothing else has a second attribute.
    """

    name: str
    kind: str
    stream: str
    value: int
    pause_us: int = 0

    def __post_init__(self) -> None:
        if self.kind not in ATTRIBUTES or self.stream not in (UPSTREAM, DOWNSTREAM) or self.value < 0 or self.pause_us < 0:
            raise ValueError(f"toxic: need one of {sorted(ATTRIBUTES)}, a stream and values >= 0 (got {self})")
        if self.pause_us and len(ATTRIBUTES[self.kind]) == 1:
            raise ValueError(f"toxic: only a slicer pauses (got {self})")

    def as_sent(self) -> dict[str, Any]:
        attributes = dict(zip(ATTRIBUTES[self.kind], (self.value, self.pause_us), strict=False))
        return {"name": self.name, "type": self.kind, "stream": self.stream, "toxicity": 1.0, "attributes": attributes}


class ProxyState(Struct, frozen=True):
    """A proxy as the server tells it."""

    listen: str
    upstream: str
    enabled: bool
    toxics: tuple[Toxic, ...]


class Toxiproxy:
    """Control of the server at ``host:port``. Blocking; every method raises `ToxiproxyFailed`."""

    def __init__(self, host: str, port: int) -> None:
        loopback(f"{host}:{port}")
        self.host, self.port = host, port
        # The library keeps its server in class attributes, one for the whole process; a class of our own makes it one per object.
        self._api: type[APIConsumer] = type("BoundConsumer", (APIConsumer,), {"host": host, "port": port})

    def create(self, name: str, listen: str, upstream: str, toxics: tuple[Toxic, ...] = ()) -> ProxyState:
        """A proxy that is disabled until its toxics are in place, so that no byte passes before. Enabled, read back."""
        wanted = {"name": name, "listen": loopback(listen), "upstream": loopback(upstream), "enabled": False}
        self._call("post", "/proxies", wanted)
        for toxic in toxics:
            self._call("post", f"/proxies/{name}/toxics", toxic.as_sent())
        return self._enable(name, ProxyState(listen, upstream, enabled=True, toxics=tuple(sorted(toxics))))

    def state(self, name: str) -> ProxyState:
        told = self._call("get", f"/proxies/{name}")
        try:
            toxics = sorted(
                Toxic(toxic["name"], toxic["type"], toxic["stream"], *(toxic["attributes"][each] for each in ATTRIBUTES[toxic["type"]]))
                for toxic in told["toxics"]
            )
            return ProxyState(told["listen"], told["upstream"], told["enabled"], tuple(toxics))
        except (KeyError, TypeError) as error:
            raise NotAsAsked(f"{name}: unexpected answer {told!r}") from error

    def cut(self, name: str) -> ProxyState:
        """Down: open connections end with FIN, new ones are refused."""
        return self._set_enabled(name, enabled=False)

    def restore(self, name: str) -> ProxyState:
        """Up again, whatever toxics it has."""
        return self._set_enabled(name, enabled=True)

    def add(self, name: str, *toxics: Toxic) -> ProxyState:
        """Put ``toxics`` in force on open and new connections; one whose name is there already is updated."""
        before = self.state(name)
        there = {toxic.name: toxic for toxic in before.toxics}
        for toxic in toxics:
            path = f"/proxies/{name}/toxics" + (f"/{toxic.name}" if toxic.name in there else "")
            self._call("post", path, toxic.as_sent())
            there[toxic.name] = toxic
        return self._expect(name, ProxyState(before.listen, before.upstream, before.enabled, tuple(sorted(there.values()))))

    def remove(self, name: str, *toxics: str) -> ProxyState:
        """Take the toxics of these names away; names that are not there are passed over.

        A black hole closes its connections when it goes, so the proxy is down for the moment in which one is removed, and its connections end
        just the same. A toxic that goes while data for a dead connection is on its way through it locks its proxy up for good; such
        a proxy is made anew, and its connections end, too.
        """
        before = self.state(name)
        staying = tuple(toxic for toxic in before.toxics if toxic.name not in toxics)
        leaving = [toxic for toxic in before.toxics if toxic not in staying]
        wanted = ProxyState(before.listen, before.upstream, before.enabled, staying)
        goes_down = before.enabled and any(toxic.kind == "timeout" for toxic in leaving)
        if goes_down:
            self._call("post", f"/proxies/{name}", {"enabled": False})
        try:
            for toxic in leaving:
                self._call("delete", f"/proxies/{name}/toxics/{toxic.name}")
        except (Unreachable, Refused):
            return self._make_anew(name, wanted)
        return self._enable(name, wanted) if goes_down else self._expect(name, wanted)

    def _make_anew(self, name: str, wanted: ProxyState) -> ProxyState:
        try:
            self._call("delete", f"/proxies/{name}")
        except Unreachable:  # the server was slow about it: it is done meanwhile, or done when it is asked for again
            with contextlib.suppress(Refused):
                self._call("delete", f"/proxies/{name}")
        made = self.create(name, wanted.listen, wanted.upstream, wanted.toxics)
        return made if wanted.enabled else self.cut(name)

    # -- Calls -----------------------------------------------------------------------------------------------------------------------

    def _set_enabled(self, name: str, *, enabled: bool) -> ProxyState:
        before = self.state(name)
        self._call("post", f"/proxies/{name}", {"enabled": enabled})
        return self._expect(name, ProxyState(before.listen, before.upstream, enabled, before.toxics))

    def _enable(self, name: str, wanted: ProxyState) -> ProxyState:
        self._call("post", f"/proxies/{name}", {"enabled": True})
        return self._expect(name, wanted)

    def _expect(self, name: str, wanted: ProxyState) -> ProxyState:
        found = self.state(name)
        if found != wanted:
            raise NotAsAsked(f"{name}: asked for {wanted}, read back {found}")
        return found

    def _call(self, verb: str, path: str, document: dict[str, Any] | None = None) -> Any:
        # No proxies: an HTTP proxy of the environment is not meant for the loopback interface.
        settings: dict[str, Any] = {"timeout": CALL_S, "proxies": {"http": "", "https": ""}}
        if document is not None:
            settings["json"] = document
        try:
            answer = getattr(self._api, verb)(path, **settings)
        except requests.RequestException as error:
            raise Unreachable(f"{verb} {path}: {error}") from error
        except (ProxyExists, NotFound, InvalidToxic) as error:  # any 409, 404 and 400, whatever the names say
            raise Refused(f"{verb} {path}: {type(error).__name__}: {error}") from error
        if answer.status_code >= 400:  # the library lets a 5xx pass for success
            raise Refused(f"{verb} {path}: status {answer.status_code}: {answer.text[:200]}")
        return answer.json() if answer.content else None
