"""Every kind of wrong entry of a timeline is told in exact lines, like all that is wrong with a scenario (``test_scenario_problems``)."""

from __future__ import annotations

import pytest

from scenarios import load
from scenarios.faults import FAULTS
from tests.unit.scenario_texts import SOUND, problems

ENTRIES = {
    "{at: 1s}": ["5:5: timeline[0]: nothing to do (got {at: ...}); give one operation or fault, for example hard: {scope: tenant acme}"],
    "{hard: {scope: global}}": ["5:5: timeline[0]: no trigger (got {hard: ...}); give exactly one of at, after and when"],
    "{at: 1s, after: order-durable, hard: {scope: global}}": [
        "5:21: timeline[0].after: more than one trigger (got at, after); give exactly one of at, after and when"
    ],
    "{at: 1s, hard: {scope: global}, pause: {nodes: replica 1}}": [
        "5:44: timeline[0].pause: more than one thing to do (got hard, pause); make an entry of each"
    ],
    "{at: 1s, wait: 2s, hard: {scope: global}}": ["5:20: timeline[0].wait: only goes with `after` (got '2s'); remove it, or say after what"],
    "{after: pause.on, hard: {scope: global}}": ["5:13: timeline[0].after: no entry of that id or action (got 'pause.on'); the ids here are hard-1"],
    "{after: hard.on, hard: {scope: global}}": [
        "5:13: timeline[0].after: a hard has only the moments played, accepted and effective (got 'hard.on'); the ids here are hard-1",
        "5:13: timeline[0].after: waits, in the end, for itself (got 'hard.on'); break the circle with an `at`",
    ],
    "{after: hard.played, hard: {scope: global}}": [
        "5:13: timeline[0].after: waits, in the end, for itself (got 'hard.played'); break the circle with an `at`"
    ],
    "{after: order-durabel, hard: {scope: global}}": [
        "5:13: timeline[0].after: unknown kind of fact (got 'order-durabel'); did you mean 'order-durable'?"
    ],
    "{after: gate-changed(agent=acme/1, mode=DRAINING), hard: {scope: global}}": [
        "5:13: timeline[0].after: not closed (got 'gate-changed(agent=acme/1'); put it in quotes: within { } or [ ] of YAML, a comma ends the value",
        f"5:40: timeline[0].'mode=DRAINING)': unknown key (got 'mode=DRAINING)'); docs/scenarios.md lists the {15 + len(FAULTS)} that are known",
    ],
    "{when: lease.left(acme/9) < 5%, hard: {scope: global}}": ["5:12: timeline[0].when: no such agent (got 'acme/9'); did you mean 'acme/2'?"],
    "{when: gate(acme/1) is OPENED, hard: {scope: global}}": [
        "5:12: timeline[0].when: unknown gate 'OPENED' (got 'gate(acme/1) is OPENED'); did you mean 'OPEN'?"
    ],
    "{after: gate-changed(agent=acme/9), hard: {scope: global}}": [
        "5:13: timeline[0].after: no such agent as 'acme/9' (got 'gate-changed(agent=acme/9)'); did you mean 'acme/2'?"
    ],
    "{after: gate-changed(mode=DRANING), hard: {scope: global}}": [
        "5:13: timeline[0].after: unknown mode 'DRANING' of this fact (got 'gate-changed(mode=DRANING)'); did you mean 'DRAINING'?"
    ],
    "{after: gate-changed(gate=SHUT), hard: {scope: global}}": [
        "5:13: timeline[0].after: unknown gate 'SHUT' of this fact (got 'gate-changed(gate=SHUT)'); use one of OPEN, DRAIN, CLOSED"
    ],
    "{after: agent-status(stage=FENCD), hard: {scope: global}}": [
        "5:13: timeline[0].after: unknown stage 'FENCD' of this fact (got 'agent-status(stage=FENCD)'); did you mean 'FENCED'?"
    ],
    "{after: fault-fired(what=partiton), hard: {scope: global}}": [
        "5:13: timeline[0].after: unknown what 'partiton' of this fact (got 'fault-fired(what=partiton)'); did you mean 'partition'?"
    ],
    "{after: order-learned(node=sidecar/amce/1), hard: {scope: global}}": [
        "5:13: timeline[0].after: no such node as 'sidecar/amce/1' (got 'order-learned(node=sidecar/amce/1)'); did you mean 'sidecar/acme/1'?"
    ],
    "{after: fence-durable(sink=sink/acme/leger), hard: {scope: global}}": [
        "5:13: timeline[0].after: no such sink as 'sink/acme/leger' (got 'fence-durable(sink=sink/acme/leger)'); did you mean 'sink/acme/ledger'?"
    ],
    "{after: fault-on(fault=cut), hard: {scope: global}}": [
        "5:13: timeline[0].after: no such entry as 'cut' (got 'fault-on(fault=cut)'); use one of hard-1"
    ],
    "{when: soon, hard: {scope: global}}": [
        "5:12: timeline[0].when: not a state to wait for (got 'soon'); write lease.left(acme/1) < 5%, drain.left(acme/1) < 5%, "
        "gate(acme/1) is DRAIN or mode(acme/1) is DRAINING"
    ],
    "{at: 1s, hard: {scope: tenant acne}}": [
        "5:28: timeline[0].hard.scope: matches no agent (got 'tenant acne'); did you mean 'acme'? (or allow-empty: true)"
    ],
    "{at: 1s, hard: {scope: label tier=gold}}": [
        "5:28: timeline[0].hard.scope: a label belongs to one tenant (got 'label tier=gold'); add `tenant: acme` beside it",
        "5:28: timeline[0].hard.scope: matches no agent (got 'label tier=gold'); allow-empty: true if that is meant",
    ],
    "{at: 1s, hard: {scope: global, replica: 7}}": ["5:45: timeline[0].hard.replica: there are only 3 replicas (got 7); use a lower number"],
    "{at: 1s, hard: {scope: global, principal: eve}}": [
        "5:47: timeline[0].hard.principal: not one of its values (got 'eve'); use one of alice, bob, carol, dave, erin, frank, mallory"
    ],
    "{at: 1s, pause: {nodes: sidecar acme/7}}": [
        "5:29: timeline[0].pause.nodes: matches no node (got 'sidecar acme/7'); the nodes are replica 1, replica 2, replica 3, sidecar acme/1, "
        "sidecar acme/2, agent acme/1, agent acme/2, sink acme/ledger, operator; or allow-empty: true"
    ],
    "{at: 1s, pause: {nodes: rest}}": [
        "5:29: timeline[0].pause.nodes: `rest` of what? (got 'rest'); name the nodes; rest belongs into between, or to, of a fault on links"
    ],
    "{at: 1s, pause: {nodes: operator}}": [
        "5:29: timeline[0].pause.nodes: pause cannot hit nodes of the role operator (got 'operator'); aim it at one of replica, sidecar, agent, sink"
    ],
    "{at: 1s, pause: {nodes: sidecar/acme/1}}": [
        "5:29: timeline[0].pause.nodes: not a target (got 'sidecar/acme/1'); write it with a space: sidecar acme/1"
    ],
    "{at: 1s, partition: {}}": ["5:25: timeline[0].partition: no sides (got {}); add for example between: [replicas, sidecar acme/1]"],
    "{at: 1s, partition: {from: replicas}}": ["5:32: timeline[0].partition.from: only one end (got 'replicas'); add `to`, or use between"],
    "{at: 1s, partition: {between: [replicas, rest, rest]}}": [
        "5:52: timeline[0].partition.between[2]: `rest` on more than one side (got 'rest'); name the nodes of all sides but one"
    ],
    "{at: 1s, partition: {between: [replicas, [replica 1, sidecars]]}}": [
        "5:46: timeline[0].partition.between[1]: a node on two sides (got 'replica 1'); let each node stand on one side only"
    ],
    "{at: 1s, partition: {between: [sidecar acme/1, sidecar acme/2]}}": [
        "5:25: timeline[0].partition: no link joins the sides (got {between: ...}); sidecars speak to replicas and to their tenant's sinks, "
        "replicas to all but agents; or allow-empty: true"
    ],
    "{at: 1s, partition: {between: [replicas, agents]}}": [
        "5:46: timeline[0].partition.between[1]: partition cannot hit nodes of the role agent (got 'agents'); aim it at one of "
        "replica, sidecar, sink, operator: an agent speaks only to its own sidecar, on one host"
    ],
    "{at: 1s, loss: {chance: 101%}}": ["5:29: timeline[0].loss.chance: out of its limits (got '101%'); use 0%..100%"],
    "{at: 1s, duplicate: {to: sidecars, times: 1}}": ["5:47: timeline[0].duplicate.times: out of its limits (got 1); use 2..20"],
    "{at: 1s, crash: {nodes: replica 1, for: 3s}}": [
        "5:40: timeline[0].crash.for: unknown key (got 'for'); use one of allow-empty, nodes, power, restart-after"
    ],
    "{at: 1s, crash: {nodes: replica 1, power: yes}}": [
        "5:47: timeline[0].crash.power: must be true or false (got 'yes'); write one of those, without quotes: yes, no, on and off are words here"
    ],
    "{at: 1s, crash: {nodes: [replica 1, replica 7], restart-after: soon}}": [
        "5:41: timeline[0].crash.nodes[1]: matches no node (got 'replica 7'); the nodes are replica 1, replica 2, replica 3, sidecar acme/1, "
        "sidecar acme/2, agent acme/1, agent acme/2, sink acme/ledger, operator; or allow-empty: true",
        "5:68: timeline[0].crash.restart-after: not a duration (got 'soon'); write a number and a unit (ns, us, ms, s, min, h), for example 250ms",
    ],
    "{at: 1s, hard: {scope: tenant acne, grace: 5s, replica: x}}": [
        "5:28: timeline[0].hard.scope: matches no agent (got 'tenant acne'); did you mean 'acme'? (or allow-empty: true)",
        "5:48: timeline[0].hard.grace: a hard has no grace (got '5s'); remove it, or use soft",
        "5:61: timeline[0].hard.replica: must be a whole number (got 'x'); write digits only, without quotes, unit or point",
    ],
    "{at: 1s, hard: {scope: tenant acme, cleanup: compensate}}": [
        "5:50: timeline[0].hard.cleanup: a hard leaves no time for a cleanup (got 'compensate'); remove it, or use soft"
    ],
    "{at: 1s, resume: {scope: tenant acme, cleanup: none}}": [
        "5:52: timeline[0].resume.cleanup: a resume stops nothing (got 'none'); remove it, or use soft"
    ],
    "{at: 1s, pause: {nodes: replica 1}, for: 3s}": ["5:41: timeline[0].for: unknown key (got 'for'); it belongs inside: pause: {..., for: ...}"],
    "{at: 1s, bit-flip: {nodes: [agents, replica 1], in: slots}}": [
        "5:57: timeline[0].bit-flip.in: a replica has no slots (got 'slots'); aim it at nodes of the role agent only"
    ],
    "{at: 1s, policy-canary: {}}": ["5:29: timeline[0].policy-canary: always refused, for nothing is on trial (got {}); name a policy"],
    "{at: 1s, policy-promote: {}}": ["5:30: timeline[0].policy-promote: always refused, for nothing is on trial (got {}); try one before"],
    "{at: 1s, clock-step: {nodes: replicas}}": ["5:26: timeline[0].clock-step.by: missing; add it"],
    "{at: 1s, id: x, pause: {nodes: [], for: 0s}}": [
        "5:36: timeline[0].pause.nodes: an empty list of targets (got a list of 0); name at least one, for example [replica 1, sidecars acme]"
    ],
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_each_wrong_entry_is_told_exactly(entry: str) -> None:
    assert problems(f"{SOUND}timeline:\n  - {entry}\n") == ENTRIES[entry]


def test_ids_are_unique_and_moments_unambiguous() -> None:
    pauses = "  - {at: 1s, id: x, pause: {nodes: replicas}}\n  - {at: 2s, id: x, pause: {nodes: replicas}}\n"
    entries = f"{pauses}  - {{after: pause.on, hard: {{scope: global}}}}\n"
    assert problems(f"{SOUND}timeline:\n{entries}") == [
        "6:18: timeline[1].id: the id of timeline[0] too (got 'x'); give each entry its own id",
        "7:13: timeline[2].after: 2 entries of that action: say which by its id (got 'pause.on'); the ids here are x, x, hard-1",
    ]


def test_two_entries_that_wait_for_each_other_are_told_both() -> None:
    entries = "  - {after: b.on, id: a, pause: {nodes: replicas}}\n  - {after: a.on, id: b, pause: {nodes: replicas}}\n"
    assert [line.split(" (got")[0] for line in problems(f"{SOUND}timeline:\n{entries}")] == [
        "5:13: timeline[0].after: waits, in the end, for itself",
        "6:13: timeline[1].after: waits, in the end, for itself",
    ]


def test_an_empty_target_is_taken_where_it_is_meant() -> None:
    load.parse(f"{SOUND}timeline:\n  - {{at: 1s, hard: {{scope: tenant later, allow-empty: true}}}}\n")
    load.parse(f"{SOUND}timeline:\n  - {{at: 1s, pause: {{nodes: sidecars later, allow-empty: true}}}}\n")
