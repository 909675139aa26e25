/** Durable work: what is under way, what failed for good, and a way to begin. A run has the id of its first task. */

import { useState, type ReactNode } from "react";

import { act, useActions, useData, useThrottled } from "../api";
import { useNews } from "../feed";
import { StatusBadge, Table, Waiting } from "../parts/Parts";
import { link } from "../route";
import type { Directory } from "../types";
import { some, span, when } from "../words";
import { Letters } from "./Letters";
import { Submit } from "./Submit";

interface Task {
  task: string;
  state: string;
  handler: string;
  start_unix_ms: number;
  duration_ms: number;
  waits: string[];
  /** The number of its dead letter; 0: none. */
  letter: number;
  in_doubt: boolean;
}

const OVER = new Set(["succeeded", "failed", "cancelled", "dead"]);

export default function Tasks(): ReactNode {
  const answer = useData<{ tasks: Task[] }>("/api/tasks?limit=200");
  const directory = useData<Directory>("/api/agents");
  const actions = useActions();
  const [problem, setProblem] = useState("");
  const refresh = useThrottled(answer.reload, 1_000);
  useNews(refresh);
  const cancel = (task: string): void => {
    act("task.cancel", { task }).then(() => setProblem(""), (error: Error) => setProblem(error.message)).finally(answer.reload);
  };
  return (
    <>
      <h1>Tasks</h1>
      {actions.has("task.submit") && directory.data && <Submit agents={directory.data.agents} sent={answer.reload} />}
      {problem && <p className="note bad" role="alert">{problem}</p>}
      {!answer.data ? <Waiting of={answer} /> : answer.data.tasks.length ? (
        <Table name="Tasks" keys={answer.data.tasks.map((each) => each.task)}
          columns={[["task"], ["handler"], ["state"], ["since", "n"], ["took", "n"], ["dead letter", "n"], ["stop"]]}
          rows={answer.data.tasks.map((each) => [
            <a className="mono" href={link("runs", each.task)}>{each.task.slice(0, 12)}</a>, each.handler,
            <><StatusBadge name={each.state} />{each.in_doubt ? <span className="error"> in doubt</span> : null}
              {each.waits.length ? ` waits for ${each.waits.join(", ")}` : ""}</>,
            when(each.start_unix_ms), span(each.duration_ms), some(each.letter),
            actions.has("task.cancel") && !OVER.has(each.state)
              ? <button type="button" aria-label={`cancel ${each.task.slice(0, 12)}`} onClick={() => cancel(each.task)}>cancel</button> : "",
          ])} />
      ) : <p className="empty">No tasks. <code>antiphon submit</code> stores one, and so does the form above.</p>}
      <Letters />
    </>
  );
}
