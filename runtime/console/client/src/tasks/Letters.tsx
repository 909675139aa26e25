/** What could not be delivered: to be sent again, or let go. */

import { useState, type ReactNode } from "react";

import { act, useActions, useData } from "../api";
import { Table } from "../parts/Parts";
import { count, when } from "../words";

interface Letter {
  number: number;
  agent: string;
  task: string | null;
  subject: string;
  reason: { type: string; message: string };
  attempts: number;
  unix_ms: number;
  in_doubt: boolean;
}

/** How a letter can go on its way again: where a write is in doubt, a person has to say whether it happened. */
function ways(letter: Letter): [string, Record<string, unknown>][] {
  if (!letter.in_doubt) return [["redrive", {}]];
  return [["redrive: it happened", { resolution: { done: true, value: null } }], ["redrive: it did not", { resolution: { done: false } }]];
}

export function Letters(): ReactNode {
  const answer = useData<{ letters: Letter[] }>("/api/dead");
  const actions = useActions();
  const [problem, setProblem] = useState("");
  if (!answer.data) return null;
  const perform = (name: string, number: number, more: Record<string, unknown> = {}): void => {
    act(name, { number, ...more }).then(() => setProblem(""), (error: Error) => setProblem(error.message)).finally(answer.reload);
  };
  return (
    <>
      <h2>Dead letters</h2>
      {problem && <p className="note bad" role="alert">{problem}</p>}
      {answer.data.letters.length ? (
        <Table name="Dead letters" keys={answer.data.letters.map((each) => String(each.number))}
          columns={[["number", "n"], ["agent"], ["why", "wide"], ["attempts", "n"], ["at", "n"], ["what to do"]]}
          rows={answer.data.letters.map((each) => [
            count(each.number), each.agent,
            <>{each.reason.type}: {each.reason.message}{each.in_doubt ? <b className="error"> in doubt: it may have happened</b> : null}</>,
            count(each.attempts), when(each.unix_ms),
            <span className="actions">
              {actions.has("letter.redrive") && ways(each).map(([words, more]) => (
                <button key={words} type="button" aria-label={`${words}, letter ${each.number}`}
                  onClick={() => perform("letter.redrive", each.number, more)}>{words}</button>
              ))}
              {actions.has("letter.drop") && <button type="button" aria-label={`drop letter ${each.number}`} onClick={() => perform("letter.drop", each.number)}>drop</button>}
            </span>,
          ])} />
      ) : <p className="soft">None.</p>}
    </>
  );
}
