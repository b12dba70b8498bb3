// An agent in JavaScript that drains: it finishes the task that it has begun, checkpoints, and leaves. Node.js, nothing else.
//
// Run it as `killswitch sidecar --config cell.yaml -- node examples/agent.js`. What it speaks is docs/agents.md, one JSON document a line.
"use strict";

const net = require("node:net");
const readline = require("node:readline");
const { setTimeout: sleep } = require("node:timers/promises");

const STEPS = 3;
const THINKING_MS = 200;

const door = net.connect(process.env.KILLSWITCH_SOCKET);
const waiting = new Map();
let last = 0;
let stop = null;
let gateMoved = () => {};

process.on("SIGTERM", () => {}); // the door says that, too, and whether what is begun may be finished
door.on("close", () => process.exit(1)); // no sidecar, no agent
readline.createInterface({ input: door }).on("line", (line) => {
  const heard = JSON.parse(line);
  if (heard.event === "stop") stop = heard;
  if (heard.event) return gateMoved();
  const answer = waiting.get(heard.id);
  if (!answer) return console.error(`no answer to anything that was asked: ${line}`);
  waiting.delete(heard.id);
  answer(heard);
});

function ask(request) {
  return new Promise((resolve, reject) => {
    waiting.set(++last, (heard) => (heard.error ? reject(new Error(heard.error)) : resolve(heard)));
    door.write(JSON.stringify({ id: last, ...request }) + "\n");
  });
}

// APPLIED or IN_DOUBT; DENIED only once the agent is to stop.
async function effect(task, step, sink, payload) {
  for (;;) {
    const moved = new Promise((resolve) => (gateMoved = resolve));
    const { status } = await ask({ do: "effect", task, step, sink, payload });
    if (status !== "DENIED" || stop) return status;
    await moved;
  }
}

async function main() {
  const hello = await ask({ do: "hello" });
  const state = hello.checkpoint ? hello.checkpoint.state : { next: 0, doubtful: [] };
  stop = stop || hello.stop;
  console.log(`${hello.agent} begins at task ${state.next}`);
  work: while (!stop) {
    const task = `task-${state.next}`;
    for (let step = 0; step < STEPS; step++) {
      await sleep(THINKING_MS);
      const status = await effect(task, step, hello.sinks[0], { buy: 10 * (step + 1) });
      if (status === "DENIED") break work; // the next start asks again from step 0, and is told what took place
      if (status === "IN_DOUBT") {
        state.doubtful.push(task);
        break;
      }
    }
    if (!state.doubtful.includes(task)) await ask({ do: "done", task });
    state.next += 1;
    await ask({ do: "checkpoint", state });
  }
  await ask({ do: "checkpoint", state });
  await ask({ do: "stopping", in_doubt: [] });
  console.log(`${hello.agent} leaves before task ${state.next}`);
  process.exit(0);
}

main();
