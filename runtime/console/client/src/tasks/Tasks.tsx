/** Durable work: what is under way, what waits, what failed for good, and a way to begin. */

import { useState, type ReactNode } from "react";

import { act, query as address, useActions, useData, useThrottled } from "../api";
import { useNews } from "../feed";
import { usePages } from "../parts/pages";
import { Select, StatusBadge, Table, Waiting } from "../parts/Parts";
import { link, refine, useRoute } from "../route";
import type { Directory } from "../types";
import { some, span, when } from "../words";
import { Letters } from "./Letters";
import { Submit } from "./Submit";

interface Task {
  task: string;
  run: string;
  state: string;
  handler: string;
  start_unix_ms: number;
  duration_ms: number;
  waits: string[];
  /** The number of its dead letter; 0: none. */
  letter: number;
  in_doubt: boolean;
}

const STATES = ["", "queued", "running", "parked", "succeeded", "failed", "cancelled", "dead"].map((s) => [s, s || "any state"] as const);
const OVER = new Set(["succeeded", "failed", "cancelled", "dead"]);

export default function Tasks(): ReactNode {
  const state = useRoute().query.get("state") ?? "";
  const pages = usePages<Task>(address("/api/tasks", { state }), "tasks", (each) => each.task);
  const directory = useData<Directory>("/api/agents");
  const actions = useActions();
  const [problem, setProblem] = useState("");
  const refresh = useThrottled(pages.reload, 1_000);
  useNews(refresh);
  const cancel = (task: string): void => {
    act("task.cancel", { task }).then(() => setProblem(""), (error: Error) => setProblem(error.message)).finally(pages.reload);
  };
  return (
    <>
      <h1>Tasks</h1>
      {actions.has("task.submit") && directory.data && <Submit agents={directory.data.agents} sent={pages.reload} />}
      {problem && <p className="note bad" role="alert">{problem}</p>}
      <div className="filters">
        <Select label="state" value={state} choices={STATES} onChange={(value) => refine({ state: value || null })} />
      </div>
      {pages.items === null || pages.error ? <Waiting of={pages} /> : null}
      {pages.items?.length ? (
        <Table name="Tasks" keys={pages.items.map((each) => each.task)}
          columns={[["task"], ["handler"], ["state"], ["since", "n"], [state === "parked" ? "waits for" : "took", "n"], ["dead letter", "n"], ["stop"]]}
          rows={pages.items.map((each) => [
            <a className="mono" href={link("runs", each.run)}>{each.task.slice(0, 12)}</a>, each.handler,
            <><StatusBadge name={each.state} />{each.in_doubt ? <span className="error"> in doubt</span> : null}
              {each.waits.length ? ` waits for ${each.waits.join(", ")}` : ""}</>,
            when(each.start_unix_ms), span(each.duration_ms), some(each.letter),
            actions.has("task.cancel") && !OVER.has(each.state)
              ? <button type="button" aria-label={`cancel ${each.task.slice(0, 12)}`} onClick={() => cancel(each.task)}>cancel</button> : "",
          ])} />
      ) : pages.items && (
        <p className="empty">
          {state ? `No task is ${state}.` : <>No tasks. <code>antiphon submit</code> stores one, and so does the form above.</>}
        </p>
      )}
      {pages.older && <p className="more"><button type="button" onClick={pages.older}>older tasks</button></p>}
      <Letters />
    </>
  );
}
