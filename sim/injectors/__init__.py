"""How each fault of the reference breaks the simulated world, and how it is undone: one family of faults a module.

A family is a class over the world with two tables: ``begins``, {fault: how it begins}, and ``ends``, {fault: how it ends}, for those that
last. Must not know when: the nemesis does.
"""

from __future__ import annotations

from sim.injectors.agents import Agents
from sim.injectors.clocks import Clocks
from sim.injectors.disks import Disks
from sim.injectors.family import Family
from sim.injectors.hostile import Hostile, Poison, Versions
from sim.injectors.hosts import Hosts
from sim.injectors.keys import Keys
from sim.injectors.links import Links
from sim.injectors.load import Load
from sim.injectors.signals import Signals

FAMILIES: tuple[type[Family], ...] = (Links, Load, Signals, Clocks, Hosts, Disks, Keys, Hostile, Poison, Versions, Agents)
