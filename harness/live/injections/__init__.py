"""The faults that the live driver can make, each with a measurement of its own that it happened: one family a module.

Owns the table of them: each row of the fault reference that live runs know (`scenarios.faults`), and what puts it on, attests it and takes it off. An
injection that raised no error proves nothing: what is attested is what a probe through the path, the kernel, or the receiver's own trace shows.
"""

from __future__ import annotations

from collections.abc import Callable

from harness.live.injections import hostile, keys, messages
from harness.live.injections.agents import Dawdle, Deaf, DieSaving, Fork
from harness.live.injections.clocks import ClockDrift, ClockStep, ClockStrobe
from harness.live.injections.disks import BitFlip, DiskFail, DiskFull, DiskLost, DiskReadOnly, DiskSlow
from harness.live.injections.doubles import Clone
from harness.live.injections.family import Attestation, CapabilityMissing, Healing, Injection, Stage
from harness.live.injections.hosts import Crash, Pause
from harness.live.injections.links import Delay, Flapping, Partition
from harness.live.injections.load import Overload, ReconnectStorm
from harness.live.injections.paces import Slow
from harness.live.injections.packets import PacketDelay, PacketLoss
from harness.live.injections.sleep import Suspend
from harness.live.injections.streams import Bandwidth, CutAfter, Slice, SlowClose
from harness.live.injections.walls import WallDrift, WallStep, WallStrobe
from scenarios.schedule import Entry, Fault

__all__ = ["INJECTIONS", "Attestation", "CapabilityMissing", "Healing", "Injection", "Stage"]

INJECTIONS: dict[str, Callable[[Stage, Entry, Fault], Injection]] = {
    "partition": Partition,
    "flapping-partition": Flapping,
    "ring-partition": Partition,
    "majorities-ring": Partition,
    "bandwidth": Bandwidth,
    "slice": Slice,
    "cut-after": CutAfter,
    "slow-close": SlowClose,
    "delay": Delay,
    "packet-delay": PacketDelay,
    "packet-loss": PacketLoss,
    "loss": messages.loss,
    "duplicate-messages": messages.duplicate_messages,
    "reorder": messages.reorder,
    "corrupt": messages.Corrupt,
    "forge": hostile.forge,
    "cross-tenant": hostile.cross_tenant,
    "malformed": hostile.malformed,
    "overload": Overload,
    "reconnect-storm": ReconnectStorm,
    "duplicate": messages.duplicate,
    "replay": messages.Replay,
    "pause": Pause,
    "suspend": Suspend,
    "clone": Clone,
    "slow-node": Slow,
    "crash": Crash,
    "clock-step": ClockStep,
    "clock-drift": ClockDrift,
    "clock-freeze": ClockDrift,
    "clock-strobe": ClockStrobe,
    "wall-step": WallStep,
    "wall-drift": WallDrift,
    "wall-strobe": WallStrobe,
    "disk-fail": DiskFail,
    "disk-read-only": DiskReadOnly,
    "disk-slow": DiskSlow,
    "disk-full": DiskFull,
    "bit-flip": BitFlip,
    "disk-lost": DiskLost,
    "rotate-keys": keys.rotate_keys,
    "revoke-key": keys.revoke_key,
    "ignore-stop": Deaf,
    "lie": Deaf,
    "drain-slowly": Dawdle,
    "fork": Fork,
    "die-mid-checkpoint": DieSaving,
}
