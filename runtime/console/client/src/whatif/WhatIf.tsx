/** Recorded runs, replayed with something changed. Which runs and what is changed are in the address. */

import { useState, type FormEvent, type ReactNode } from "react";

import { post, query as address, useData } from "../api";
import { asked, cohort } from "../cohort/cohort";
import { CohortForm } from "../cohort/CohortForm";
import { useNames } from "../cohort/names";
import { Waiting } from "../parts/Parts";
import { link, refine, useRoute } from "../route";
import { count } from "../words";
import { Answer, type Answered } from "./Answer";
import { Knobs } from "./Knobs";
import { Policies, type Inside } from "./Policies";
import { question, read, write, type Change } from "./question";

export default function WhatIf(): ReactNode {
  const { query } = useRoute();
  const run = query.get("run");
  const which = run ? { run } : asked(cohort(query));
  const changes = read(query.get("with") ?? "");
  const inside = useData<Inside>(address("/api/cohort", which));
  const names = useNames();
  const [answer, setAnswer] = useState<{ to: string; said: Answered } | null>(null);
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const wish = JSON.stringify({ ...which, ...question(changes) });
  const ask = async (event: FormEvent): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    try {
      setAnswer({ to: wish, said: (await (await post("/api/whatif", JSON.parse(wish))).json()) as Answered });
      setProblem("");
    } catch (error) {
      setProblem((error as Error).message);
    }
    setBusy(false);
  };
  const change = (now: Change[]): void => refine({ with: write(now) || null });
  return (
    <>
      <h1>What if</h1>
      <form className="card" onSubmit={(event) => void ask(event)}>
        {run ? (
          <p>
            One run: <a href={link("runs", run)}>{run.slice(0, 12)}</a>{" "}
            <button type="button" onClick={() => refine({ run: null })}>many runs instead</button>
          </p>
        ) : <CohortForm name="runs" of={cohort(query)} names={names} />}
        {!inside.data ? <Waiting of={inside} /> : !inside.data.runs ? (
          <p className="empty">No finished <a href={link("runs")}>runs</a> of this kind to replay.</p>
        ) : (
          <>
            <Knobs changes={changes} inside={inside.data} onChange={change} />
            <Policies changes={changes} inside={inside.data} onChange={change} />
          </>
        )}
        <button type="submit" disabled={busy || !changes.length || !inside.data?.runs}>{busy ? "replaying…" : "replay"}</button>{" "}
        <span className="soft">
          {changes.length ? "" : "Move a slider or add a policy. "}
          Nothing runs again: the record of {run ? "the run" : `up to ${count(200)} runs`} is replayed by the simulator.
        </span>
      </form>
      {problem && <p className="note bad" role="alert">{problem}</p>}
      {answer && answer.to !== wish && <p className="note">This answers what was asked before: replay again.</p>}
      {answer && <Answer of={answer.said} />}
    </>
  );
}
