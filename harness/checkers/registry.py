"""All checkers, in the order in which verdicts are shown: safety S1 to S28, then liveness L1 to L14."""

from __future__ import annotations

from harness.checkers.acknowledged import AckDurable
from harness.checkers.audit import AuditComplete
from harness.checkers.authority import AuthZ
from harness.checkers.checker import Checker
from harness.checkers.clock_doubt import Doubt
from harness.checkers.convergence import Convergence
from harness.checkers.death import Death
from harness.checkers.delivery import Delivery
from harness.checkers.determinism import Determinism
from harness.checkers.doubts import InDoubt, SideEffectIdem
from harness.checkers.escalation import Escalate
from harness.checkers.expiry import NoExpiry
from harness.checkers.grace import GraceMonotone
from harness.checkers.hostile import FailureIsolation, Version
from harness.checkers.incarnations import OneIncarnation
from harness.checkers.inflight import Checkpoint, InFlight
from harness.checkers.intent import Confluence, Inflation, KillWins
from harness.checkers.leases import BootClosed, LeaseSound
from harness.checkers.order_bounds import LocalStop, StopBound
from harness.checkers.peace import CleanSoft, NoFalseStop, Resume
from harness.checkers.policies import Policy
from harness.checkers.proving import Proof
from harness.checkers.resources import BoundedResources
from harness.checkers.resurrection import NoResurrection
from harness.checkers.sinks import ExactlyOnce, SinkBound
from harness.checkers.standby import StandbyLimit
from harness.checkers.status import HonestStatus
from harness.checkers.tenants import TenantNI
from harness.checkers.transparency import AuditSync, AuditTamper, Causality
from harness.checkers.working import Progress

_IN_ORDER: tuple[type[Checker], ...] = (
    StopBound, SinkBound, LocalStop, Inflation, Confluence, NoResurrection, KillWins, OneIncarnation, ExactlyOnce, InFlight, AckDurable,
    Checkpoint, AuthZ, TenantNI, AuditComplete, AuditTamper, Causality, GraceMonotone, LeaseSound, HonestStatus, Policy, Version, BootClosed,
    NoExpiry, FailureIsolation, Determinism, SideEffectIdem, Delivery, Death, Escalate, CleanSoft, NoFalseStop, Resume, AuditSync, BoundedResources,
    InDoubt, Convergence, StandbyLimit, Doubt, Proof, Progress,
)  # fmt: skip

CHECKERS: dict[str, type[Checker]] = {checker.invariant: checker for checker in _IN_ORDER}
