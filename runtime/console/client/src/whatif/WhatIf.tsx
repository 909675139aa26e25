/** Recorded runs, replayed with something changed. */

import { useState, type FormEvent, type ReactNode } from "react";

import { post, useData } from "../api";
import { Waiting } from "../parts/Parts";
import { link, useRoute } from "../route";
import type { Directory, RunPage } from "../types";
import { Answer, type Answered } from "./Answer";
import { question, SPEEDS, type Knobs } from "./question";

export default function WhatIf(): ReactNode {
  const { query } = useRoute();
  const directory = useData<Directory>("/api/agents");
  const runs = useData<RunPage>("/api/runs?limit=200&status=ok");
  const [run, setRun] = useState(query.get("run") ?? "");
  const [agent, setAgent] = useState("");
  const [knobs, setKnobs] = useState<Knobs>({ pools: {}, speeds: {} });
  const [answer, setAnswer] = useState<Answered | null>(null);
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const ask = async (event: FormEvent): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    try {
      const asked = { run: run || null, agent: agent || null, model: null, last_s: null, limit: 200, ...question(knobs) };
      setAnswer((await (await post("/api/whatif", asked)).json()) as Answered);
      setProblem("");
    } catch (error) {
      setProblem((error as Error).message);
    }
    setBusy(false);
  };
  if (!directory.data || !runs.data) return <><h1>What if</h1><Waiting of={directory.data ? runs : directory} /></>;
  const seen = new Set(runs.data.runs.flatMap((each) => each.agents));
  const models = [...new Set(runs.data.runs.flatMap((each) => each.models))].sort();
  const agents = directory.data.agents.filter((each) => seen.has(each.name));
  return (
    <>
      <h1>What if</h1>
      <form className="card" onSubmit={(event) => void ask(event)}>
        <div className="filters">
          <input aria-label="run" placeholder="one run; empty: many" value={run} onChange={(event) => setRun(event.target.value)} />
          <input aria-label="agent" placeholder="runs of agent" value={agent} onChange={(event) => setAgent(event.target.value)} />
        </div>
        <div className="knobs">
          {agents.map(({ name, slots }) => {
            const now = knobs.pools[name] ?? slots;
            return (
              <label key={name}>
                <span>slots of {name}: <b>{now}</b>{now !== slots && ` (was ${slots})`}</span>
                <input type="range" min={1} max={Math.max(slots * 4, 8)} value={now}
                  onChange={(event) => setKnobs({ ...knobs, pools: pick(knobs.pools, name, Number(event.target.value), slots) })} />
              </label>
            );
          })}
          {models.map((name) => {
            const now = knobs.speeds[name] ?? 1;
            return (
              <label key={name}>
                <span>{name} is <b>{now}</b> times as fast</span>
                <input type="range" min={0} max={SPEEDS.length - 1} value={SPEEDS.indexOf(now)} aria-valuetext={`${now} times`}
                  onChange={(event) => setKnobs({ ...knobs, speeds: pick(knobs.speeds, name, SPEEDS[Number(event.target.value)]!, 1) })} />
              </label>
            );
          })}
        </div>
        <button type="submit" disabled={busy || !(Object.keys(knobs.pools).length + Object.keys(knobs.speeds).length)}>
          {busy ? "replaying…" : "replay"}
        </button>{" "}
        <span className="soft">Nothing runs again: the record of {run ? "the run" : "up to 200 runs"} is replayed by the simulator.</span>
      </form>
      {problem && <p className="note bad" role="alert">{problem}</p>}
      {answer && <Answer of={answer} />}
      {!agents.length && !models.length && <p className="empty">No finished <a href={link("runs")}>runs</a> to replay yet.</p>}
    </>
  );
}

/** With `name` at `value`; at `usual` it is no change and left out. */
function pick(knobs: Readonly<Record<string, number>>, name: string, value: number, usual: number): Record<string, number> {
  const { [name]: _, ...others } = knobs;
  return value === usual ? others : { ...others, [name]: value };
}
