"""An agent in Python that drains: it finishes the task that it has begun, checkpoints, and leaves.

Run it as ``killswitch sidecar --config cell.yaml -- python examples/agent.py``. Each task is three effects at the first sink that it may use.
"""

from __future__ import annotations

import time

from killswitch.live.client import Agent, InDoubt, Stopping

STEPS = 3
THINKING_S = 0.2

with Agent() as agent:
    state = agent.state or {"next": 0, "doubtful": []}
    print(f"{agent.name} begins at task {state['next']}", flush=True)
    while not agent.stopping:
        task = f"task-{state['next']}"
        try:
            for step in range(STEPS):
                time.sleep(THINKING_S)
                agent.effect(task, step, agent.sinks[0], payload={"buy": 10 * (step + 1)})
            agent.done(task)
        except Stopping:
            break  # the next start asks again from step 0, and is told what took place
        except InDoubt:
            state["doubtful"].append(task)
        state["next"] += 1
        agent.checkpoint(state)
    agent.checkpoint(state)
    print(f"{agent.name} leaves before task {state['next']}", flush=True)
