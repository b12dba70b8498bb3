"""Every kind of wrong scenario is told in exact lines: all problems at once, each with its place and a remedy."""

from __future__ import annotations

import pytest

from scenarios import load, schedule_checks
from scenarios.draw import draw
from scenarios.faults import FAULTS
from scenarios.problems import Place, Problem, ScenarioInvalid, ScenarioNotFound, known_or_meant, shown
from tests.unit.scenario_texts import FLEET, HEAD, SOUND, problems


def test_a_sound_file_has_no_problems() -> None:
    assert load.parse(SOUND).scenario == "a-name"


def test_all_problems_of_a_file_are_told_at_once_sorted_by_place() -> None:
    text = """\
scenario: No
hypothesis: 3
topolgy: {}
topology:
  replicas: 4
  quorum: 2
  tenants: {acme: {agents: {cont: 2}}}
parameters: {lease: 5, drift: 1}
timeline:
  - at: 100s
    hard: {scope: tenant acme, grace: 1s}
  - partition: {between: [x, replica], shape: blak}
  - 3
  - soft: {}
expect: {invariants: [S99], reached: [lease-lost(foo=1)], stop-time: {p98: under 3s}}
stop-when:
seeds: 0
seeds: 3
"""
    assert problems(text) == [
        "1:11: scenario: not a valid name here (got 'No'); use small letters, digits and dashes, and start with a letter",
        "2:13: hypothesis: must be text (got 3); put it in quotes",
        "3:1: topolgy: unknown key (got 'topolgy'); did you mean 'topology'?",
        "6:11: topology.quorum: two lease quorums may share no replica: 2 * quorum must be above replicas "
        "(got replicas 4, kill-quorum 3, quorum 2); use 3 or more",
        "7:29: topology.tenants.acme.agents.cont: unknown key (got 'cont'); did you mean 'count'?",
        "8:21: parameters.lease: a duration without its unit (got 5); write the unit with it, for example 5s or 5ms",
        "8:31: parameters.drift: a percentage without its sign (got 1); write 1% if that is meant",
        "10:9: timeline[0].at: later than the end of the run (got 100s); use at most 30s, or raise duration",
        "11:39: timeline[0].hard.grace: a hard has no grace (got '1s'); remove it, or use soft",
        "12:27: timeline[1].partition.between[0]: not a target (got 'x'); use replicas, replica 2, sidecars, sidecar acme/1, sidecars acme, "
        "agents, agent acme/1, sinks, sink acme/ledger, operator or rest",
        "12:30: timeline[1].partition.between[1]: not a target (got 'replica'); write its number, for example replica 2",
        "12:47: timeline[1].partition.shape: not one of its values (got 'blak'); did you mean 'blackhole'?",
        "13:5: timeline[2]: must be a mapping (got 3); write key: value pairs",
        "14:11: timeline[3].soft.scope: missing; add it",
        "15:23: expect.invariants[0]: unknown invariant (got 'S99'); did you mean 'S9'?",
        "15:39: expect.reached[0]: unknown field 'foo' of this fact (got 'lease-lost(foo=1)'); use one of agent, token, node",
        "15:71: expect.stop-time.p98: not a percentile (got 'p98'); use p50, p90, p95, p99 or p100",
        "16:1: stop-when: must be a mapping (got nothing); write key: value pairs",
        "17:8: seeds: must be 1 to 1000000 seeds (got 0); write for example 20, or 100..199",
        "18:1: seeds: duplicate key (got 'seeds'); keep one: it stands already at line 17",
    ]


QUORUMS = {
    "{replicas: 3, kill-quorum: 1, quorum: 2": "a lease quorum may miss every replica that holds an order",
    "{replicas: 4, kill-quorum: 1, quorum: 3": "a lease quorum may miss every replica that holds an order",
    "{replicas: 4, kill-quorum: 4, quorum: 2": "two lease quorums may share no replica",
    "{replicas: 5, quorum: 2": "two lease quorums may share no replica",
    "{replicas: 3, quorum: 4": "more than the 3 replicas",
    "{replicas: 3, kill-quorum: 4": "more than the 3 replicas",
}


@pytest.mark.parametrize("quorums", QUORUMS)
def test_quorums_that_need_not_intersect_are_refused_by_name(quorums: str) -> None:
    told = problems(f"{HEAD}topology: {quorums}, tenants: {{acme: {{workers: 1}}}}}}\n")
    assert any(QUORUMS[quorums] in line for line in told), told


@pytest.mark.parametrize(
    "quorums", ["{replicas: 1", "{replicas: 2", "{replicas: 5, kill-quorum: 2, quorum: 4", "{replicas: 4, kill-quorum: 2, quorum: 3"]
)
def test_quorums_that_intersect_are_taken(quorums: str) -> None:
    form = load.parse(f"{HEAD}topology: {quorums}, tenants: {{acme: {{workers: 1}}}}}}\n").topology
    assert form.order_quorum() + form.lease_quorum() > form.replicas < 2 * form.lease_quorum()


@pytest.mark.parametrize(
    ("topology", "told"),
    [
        ("{cells: [{}, {replicas: 4, quorum: 2}]", "topology.cells[1].quorum: two lease quorums may share no replica"),
        ("{replicas: 3, cells: [{}, {}]", "topology.replicas: `cells` says that of each cell"),
        ("{cells: [{replicas: 5}, {replicas: 5}]", "topology.cells: more than 9 replicas in all (got 10)"),
    ],
)
def test_each_cell_has_quorums_of_its_own(topology: str, told: str) -> None:
    found = problems(f"{HEAD}topology: {topology}, tenants: {{acme: {{workers: 1}}}}}}\n")
    assert any(told in line for line in found), found


def test_several_cells_have_no_core() -> None:
    found = problems(f"{HEAD}topology: {{cells: [{{}}, {{}}], tenants: {{acme: {{workers: 2}}}}}}\ncore: drawn\n")
    assert found == ["4:7: core: several cells are healed all at once (got 'drawn'); remove it, or make one cell of them"]


def test_an_agents_home_is_a_cell_that_there_is() -> None:
    found = problems(f"{HEAD}topology: {{cells: [{{}}, {{}}], tenants: {{acme: {{agents: [{{count: 1, cell: 3}}]}}}}}}\n")
    assert any("there are only 2 cells (got 3); use a lower number" in line for line in found), found


SINGLE = {
    "parameters: {lease: 1s, renew: 1s}\n": [
        "4:32: parameters.renew: leases would run out between renewals: renew + round trip (6ms) must be under "
        "lease * (1 - drift) / (1 + drift) = 980.199ms (got 1s); renew more often, or take a lease above 1.027s"
    ],
    "network: {latency: 3s}\n": [
        "4:20: network.latency: leases would run out between renewals: renew + round trip (6.002s) must be under "
        "lease * (1 - drift) / (1 + drift) = 4.901s (got 3s); use less, or take a lease above 7.144s"
    ],
    "network: {jitter: 1ms..3s}\n": [
        "4:19: network.jitter: leases would run out between renewals: renew + round trip (6.004s) must be under "
        "lease * (1 - drift) / (1 + drift) = 4.901s (got 1ms..3s); use less, or take a lease above 7.146s"
    ],
    "parameters: {lease: 1s, renew: 1s}\nnetwork: {latency: 3s}\n": [
        "4:32: parameters.renew: leases would run out between renewals: renew + round trip (6.002s) must be under "
        "lease * (1 - drift) / (1 + drift) = 980.199ms (got 1s); renew more often, or take a lease above 7.144s"
    ],
    "parameters: {lease: 60s, renew: 2ms}\nnetwork: {latency: 600ms, jitter: 0ms}\n": [
        "4:33: parameters.renew: answers may come when their requests are forgotten: the round trip (1.2s) takes 512 renewals or more "
        "(got 2ms); take a renew above 2.344ms"
    ],
    "parameters: {approval: 5s}\ntimeline: [{at: 1s, resume: {scope: tenant acme, approve-after: 5s..6s}}]\n": [
        "5:65: timeline[0].resume.approve-after: no shorter than parameters.approval, 5s: every draft has ended by the time that it is approved "
        "(got 5s..6s); use less, or raise parameters.approval"
    ],
    "timeline: [{at: 1s, hard: {scope: tenant acme}, isolate: {scope: tenant acme}}, {after: isolate.played, soft: {scope: tenant acme}}]\n": [
        "4:58: timeline[0].isolate: more than one thing to do (got hard, isolate); make an entry of each"
    ],
    "parameters: {renew: 0s}\n": ["4:21: parameters.renew: must be more than nothing (got '0s'); write for example 500ms"],
    "parameters: {renew: 1ns}\n": ["4:21: parameters.renew: less than 1ms, the least that there is (got '1ns'); write for example 500ms"],
    "parameters: {gossip: 999us}\n": ["4:22: parameters.gossip: less than 1ms, the least that there is (got '999us'); write for example 500ms"],
    "parameters: {kill-retry: 1ns}\n": ["4:26: parameters.kill-retry: less than 1ms, the least that there is (got '1ns'); write for example 500ms"],
    "parameters: {approval: 0s}\n": ["4:24: parameters.approval: must be more than nothing (got '0s'); write for example 500ms"],
    "parameters: {slack: 25h}\n": ["4:21: parameters.slack: longer than a day (got '25h'); use at most 24h"],
    "network: {latency: 999999999h}\n": ["4:20: network.latency: longer than a day (got '999999999h'); use at most 24h"],
    "parameters: {grace: 24h, grace-max: 24h}\n": [
        "4:13: parameters: the times in it make the settling after the heal longer than 43200s (got 87292.90278788s); "
        "lower the longest of them, or say `settle`"
    ],
    "workload: {tasks: 7000000/s}\n": ["4:19: workload.tasks: a rate out of its range (got '7000000/s'); use 0/s to 999999/s"],
    "workload: {tasks: -1/s}\n": ["4:19: workload.tasks: a rate out of its range (got '-1/s'); use 0/s to 999999/s"],
    "workload: {tasks: 2000000000/s}\n": ["4:19: workload.tasks: a rate out of its range (got '2000000000/s'); use 0/s to 999999/s"],
    "timeline: [{at: 1s, overload: {rate: 9999999/s, between: [replicas, sidecars]}}]\n": [
        "4:38: timeline[0].overload.rate: out of its limits (got '9999999/s'); use 1/s..100000/s"
    ],
    "timeline: [{at: 1s, bandwidth: {rate: -1B/s, between: [replicas, sidecars]}}]\n": [
        "4:39: timeline[0].bandwidth.rate: out of its limits (got '-1B/s'); use 1B/s..1000MB/s"
    ],
    "seeds: 1..9999999999999\n": ["4:8: seeds: a seed above 999999999999, which no token can carry (got 9999999999999); use lower numbers"],
    "stop-when: {facts: above 9999999999}\n": [
        "4:20: stop-when.facts: a limit that is never reached (got 'above 9999999999'); use at most 1000000000"
    ],
    "parameters: {grace: 10min}\n": ["4:21: parameters.grace: longer than grace-max, 300s (got '10min'); lower it, or raise grace-max"],
    "parameters: {grace-max: 10s}\n": ["4:13: parameters.grace: longer than grace-max, 10s (got 30s); lower it, or raise grace-max"],
    "settle: 90min\n": ["4:9: settle: longer than 1h (got '90min'); leave it out: the default follows from the parameters"],
    "parameters: {drift: 60%}\n": ["4:21: parameters.drift: no clock is promised to be that bad (got '60%'); use at most 50%"],
    "parameters: {leese: 4s}\n": ["4:14: parameters.leese: unknown key (got 'leese'); did you mean 'lease'?"],
    "network: {loss: 11%}\n": [
        "4:17: network.loss: a network that always loses more than 10% keeps no bound of the protocol (got '11%'); "
        "use at most 10% here, and a loss fault for what passes"
    ],
    "disk: {sync: 250ms, jitter: 51ms}\n": [
        "4:14: disk.sync: with jitter longer than 300ms: disks that are always so slow keep no bound of the protocol (got 301ms); "
        "use less here, and a disk-slow fault for what passes"
    ],
    "network: {loss: 120%}\n": ["4:17: network.loss: a chance above 100% (got '120%'); use at most 100%"],
    "workload: {tasks: 2}\n": ["4:19: workload.tasks: not a rate (got 2); write how many in which time, for example 2/s, 0.5/s or 30/min"],
    "workload: {steps: 0..2}\n": ["4:11: workload: tasks of 0 to 2 steps (got {steps: ...}); use 1 to 100 steps"],
    "workload: {tasks: 9999/s}\n": ["4:11: workload: more than 50000 tasks in one run (got about 599940); lower the rate, the fleet or the duration"],
    "duration: 2h\n": ["4:11: duration: must be more than nothing and at most 1h (got '2h'); write for example 30s"],
    "swarm: {between: 5s..40s}\n": ["4:18: swarm.between: ends later than the run (got 40s); use at most 30s, or raise duration"],
    "swarm: {between: 5s..9s, faults: [pertition]}\n": ["4:35: swarm.faults[0]: unknown fault (got 'pertition'); did you mean 'partition'?"],
    "swarm: {between: 5s..9s, faults: [{crash: 1}, cras, pause]}\n": [
        f"4:35: swarm.faults[0]: unknown fault (got {{crash: ...}}); docs/scenarios.md lists the {len(FAULTS)} that are known",
        "4:47: swarm.faults[1]: unknown fault (got 'cras'); did you mean 'crash'?",
    ],
    "swarm: {between: 5s..9s, faults: crash}\n": ["4:34: swarm.faults: not a list of faults (got 'crash'); write a list such as [partition, crash]"],
    "requires: [lve, live, cgrup]\n": [
        "4:12: requires[0]: nothing that a host or a driver could have is called so (got 'lve'); did you mean 'live'?",
        "4:23: requires[2]: nothing that a host or a driver could have is called so (got 'cgrup'); did you mean 'cgroup'?",
    ],
    "requires: live\n": ["4:11: requires: not a list of requirements (got 'live'); write a list such as [live, cgroup]"],
    "expect: {invariants: [S1, S29, L14, L15]}\n": [
        "4:27: expect.invariants[1]: unknown invariant (got 'S29'); did you mean 'S9'?",
        "4:37: expect.invariants[3]: unknown invariant (got 'L15'); did you mean 'L5'?",
    ],
    "expect: {invariants: [S24]}\n": [
        "4:23: expect.invariants[0]: S24 is about two runs, and no run of its own shows it (got 'S24'); "
        "leave it out: `haltproof run --twins` judges it"
    ],
    "expect: {invariants: []}\n": ["4:22: expect.invariants: not a list of invariants (got a list of 0); write all, or a list such as [S1, S6, L1]"],
    "timeline: [{at: 1s, policy-canary: {policy: too-lax, share: 50.5%}}]\n": [
        "4:61: timeline[0].policy-canary.share: finer than a whole percent (got '50.5%'); write 50% or 51%"
    ],
    "timeline: [{at: 1s, policy-canary: {policy: too-lax, share: 10%..20.25%}}]\n": [
        "4:61: timeline[0].policy-canary.share: finer than a whole percent (got '10%..20.25%'); write 20% or 21%"
    ],
    "swarm: {between: 5s..9s, orders: 2}\n": [
        "4:34: swarm.orders: no operations to draw from (got 2); add for example operations: [soft, hard, resume]"
    ],
    "requires: [live]\ntimeline: [{at: 1s, disk-lie: {nodes: replica 1}}]\n": [
        "4:11: requires: it requires the live driver, which does not have fault disk-lie (got [live]); see docs/scenarios.md for what live has"
    ],
    "requires: [live]\ncore: drawn\n": [
        "4:11: requires: it requires the live driver, which does not have core: drawn (got [live]); see docs/scenarios.md for what live has"
    ],
    "expect: {stop-time: {p99: 12s}}\n": ["4:27: expect.stop-time.p99: not a limit (got '12s'); write for example under 12s"],
}


@pytest.mark.parametrize("addition", SINGLE)
def test_each_wrong_part_is_told_exactly(addition: str) -> None:
    assert problems(SOUND + addition) == SINGLE[addition]


def test_no_is_a_name_and_needs_no_quotes() -> None:
    scenario = load.parse(f"scenario: no\nhypothesis: off\n{FLEET}timeline: [{{at: 1s, id: on, pause: {{nodes: replicas}}}}]\n")
    assert (scenario.scenario, scenario.hypothesis, scenario.timeline[0].id) == ("no", "off", "on")


def test_hostile_text_cannot_break_the_form_of_a_line() -> None:
    (line,) = problems(f'{SOUND}"a\\n:1:1: forged": 1\n')
    assert "\n" not in line.removesuffix("\n")


def test_ten_thousand_lines_of_mistakes_are_answered_in_fifty() -> None:
    text = SOUND + "".join(f"mistake-{number}: 1\n" for number in range(9_000))
    with pytest.raises(ScenarioInvalid) as refused:
        load.parse(text, "f")
    assert len(refused.value.problems) == 9_000
    assert str(refused.value).splitlines()[-1] == "and 8950 more"


def test_problems_are_sorted_and_told_once() -> None:
    one = Problem("f", Place(2, 1), "b", "wrong", None, "mend it")
    other = Problem("f", Place(1, 9), "a", "wrong", "'x'", "mend it")
    assert str(ScenarioInvalid([one, other, one])) == "f:1:9: a: wrong (got 'x'); mend it\nf:2:1: b: wrong; mend it"


def test_values_are_shown_short() -> None:
    assert [shown(True), shown(None), shown({"a": 1}), shown((1, 2)), shown("x")] == ["true", "nothing", "{a: ...}", "[1, 2]", "'x'"]
    assert len(shown("x" * 1000)) == 60
    assert known_or_meant("x", ()) == "remove it: nothing can stand here"


def test_an_unknown_scenario_is_answered_with_the_likely_one() -> None:
    with pytest.raises(ScenarioNotFound, match="did you mean 'kill-during-partition'"):
        load.find("kill-during-partitoin")


def test_a_product_without_end_is_named_by_its_largest_part() -> None:
    (line,) = problems(f"{SOUND}parameters: {{renew: 1ms, gossip: 1ms}}\nduration: 1h\n")
    assert line.startswith("4:21: parameters.renew: a run of about ")
    assert line.endswith("20,000,000 are the most (got '1ms'); do it less often, or with fewer agents, or for a shorter time")


def test_faults_that_come_again_and_again_are_counted_too() -> None:
    flood = f"{SOUND}duration: 1h\ntimeline: [{{at: 1s, overload: {{rate: 100000/s, between: [replicas, sidecars]}}}}]\n"
    assert any("timeline[0].overload: a run of about " in line and "signals" in line for line in problems(flood))
    strobe = f"{SOUND}duration: 1h\ntimeline: [{{at: 1s, clock-strobe: {{nodes: replicas, every: 1ms}}}}]\n"
    assert any("timeline[0].clock-strobe: a run of about " in line for line in problems(strobe))
    load.parse(strobe.replace("every: 1ms", "every: 1ms, for: 1s"))


def test_half_of_a_character_is_named_wherever_it_stands() -> None:
    text = f'{SOUND}"k\\uD800": 1\ntimeline: [{{at: 1s, hard: {{scope: global, reason: "a \\uDFFF b"}}}}]\n'
    halves = [line for line in problems(text) if "half of a character (a lone surrogate)" in line]
    assert [line.partition(" ")[0] for line in halves] == ["4:1:", "5:51:"]
    assert "(got 'a \\udfff b'); write the character itself" in halves[1]
    load.parse(f'{SOUND}timeline: [{{at: 1s, hard: {{scope: global, reason: "\\U0001F600"}}}}]\n')


@pytest.mark.parametrize("reason", ['"two\\nlines"', ">\n        folded\n", '"\\e[2J"'])
def test_whatever_a_scenario_may_say_its_schedule_may_too(reason: str) -> None:
    text = f"{SOUND}timeline:\n  - at: 1s\n    hard:\n      scope: tenant later\n      allow-empty: true\n      reason: {reason}\n"
    assert schedule_checks.problems(draw(load.parse(text), 1, "0")) == []


def test_what_is_wrong_in_one_place_hides_nothing_that_can_be_told_without_it() -> None:
    found = problems(
        "scenario: x\nhypothesis: y\ntopology: {quorum: many, surprise: 1, tenants: {acme: {workers: 2}}}\n"
        "parameters: {lease: 5, renew: 1ns, grace: 9s, grace-max: 8s}\nnetwork: {jitter: 1, loss: 120%}\n"
        "timeline: [{at: 1s, hard: {scope: agent acme/7}}, {when: gate(acme/9) is OPEN, pause: {nodes: replica 8}}]\n"
    )
    assert [line.split(" (got")[0].partition(" ")[2] for line in found] == [
        "topology.quorum: must be a whole number", "topology.surprise: unknown key",
        "parameters.lease: a duration without its unit", "parameters.renew: less than 1ms, the least that there is",
        "parameters.grace: longer than grace-max, 8s", "network.jitter: a duration without its unit", "network.loss: a chance above 100%",
        "timeline[0].hard.scope: matches no agent", "timeline[1].when: no such agent", "timeline[1].pause.nodes: matches no node",
    ]  # fmt: skip


def test_who_waits_for_an_entry_that_does_nothing_is_told_so() -> None:
    text = "timeline:\n  - {id: slow, at: 1s}\n  - {after: slow.on, hard: {scope: global}}\n"
    assert ["does nothing" in line or "nothing to do" in line for line in problems(SOUND + text)] == [True, True]


def test_one_mistake_hides_no_other_that_can_be_told_without_it() -> None:
    text = """\
timeline:
  - at: 1s
    id: cutoff
    partition: {between: [replicas, sidecar acme/1], shape: blak}
  - after: cutof.on
    hard: {scope: tenant acme, alow-empty: true}
  - at: 40s
    after: order-durable
    hard: {scope: tenant bay}
    colour: red
  - after: fault-on(fault=cut)
    hard: {scope: tenant acme, replica: 9}
expect: {reached: [lease-lst, "effect-applied(sink=sink/acme/mail)"]}
"""
    told = {(line.split(": ")[1], line.split(": ")[2].split(" (got ")[0]) for line in problems(SOUND + text)}
    assert told == {
        ("timeline[0].partition.shape", "not one of its values"),
        ("timeline[1].after", "no entry of that id or action"),
        ("timeline[1].hard.alow-empty", "unknown key"),
        ("timeline[2].at", "later than the end of the run"),
        ("timeline[2].after", "more than one trigger"),
        ("timeline[2].hard.scope", "matches no agent"),
        ("timeline[2].colour", "unknown key"),
        ("timeline[3].after", "no such entry as 'cut'"),
        ("timeline[3].hard.replica", "there are only 3 replicas"),
        ("expect.reached[0]", "unknown kind of fact"),
        ("expect.reached[1]", "no such sink as 'sink/acme/mail'"),
    }


@pytest.mark.parametrize("fact", ["lease-lost(node=sidecar/acme/1~2)", "order-learned(signer=replica/1#2)"])
def test_a_copy_and_a_later_key_are_known_by_their_owner(fact: str) -> None:
    assert load.parse(f'{SOUND}expect: {{reached: ["{fact}"]}}\n').expect.reached


@pytest.mark.parametrize(
    "fact", ["lease-lost(node=sidecar/acme/1#2)", "lease-lost(agent=acme/1#2)", "order-learned(tenant=acme~2)", "order-learned(signer=replica/9#2)"]
)
def test_what_has_neither_copy_nor_later_key_is_not_known_by_the_name_of_one(fact: str) -> None:
    (problem,) = problems(f'{SOUND}expect: {{reached: ["{fact}"]}}\n')
    assert "no such " in problem
