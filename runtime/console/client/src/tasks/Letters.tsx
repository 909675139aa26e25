/** What could not be delivered: to be sent again, or let go. */

import { useState, type ReactNode } from "react";

import { act, useActions, useData, useThrottled } from "../api";
import { useNews } from "../feed";
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

type Perform = (name: string, more?: Record<string, unknown>) => void;

export function Letters(): ReactNode {
  const answer = useData<{ letters: Letter[]; truncated: boolean }>("/api/dead");
  const actions = useActions();
  const [problem, setProblem] = useState("");
  const refresh = useThrottled(answer.reload, 3_000); // the server reads all of them
  useNews(refresh);
  if (!answer.data) return null;
  const perform = (number: number): Perform => (name, more) => {
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
              {actions.has("letter.redrive") && (each.in_doubt
                ? <InDoubt number={each.number} perform={perform(each.number)} />
                : <button type="button" aria-label={`redrive letter ${each.number}`} onClick={() => perform(each.number)("letter.redrive")}>redrive</button>)}
              {actions.has("letter.drop") && <button type="button" aria-label={`drop letter ${each.number}`} onClick={() => perform(each.number)("letter.drop")}>drop</button>}
            </span>,
          ])} />
      ) : <p className="soft">None.</p>}
      {answer.data.truncated && <p className="note">Only the newest are shown: <code>antiphon dead list</code> has all.</p>}
    </>
  );
}

/** Where a write is in doubt, a person has to say whether it happened, and what it then returned. */
function InDoubt({ number, perform }: { number: number; perform: Perform }): ReactNode {
  const [returned, setReturned] = useState("");
  const [problem, setProblem] = useState("");
  const happened = (): void => {
    try {
      perform("letter.redrive", { resolution: { done: true, value: returned.trim() ? JSON.parse(returned) as unknown : null } });
      setProblem("");
    } catch {
      setProblem("What it returned is no JSON: text stands in quotes.");
    }
  };
  return (
    <>
      <input className="mono" placeholder="what it returned, as JSON" aria-label={`what the write of letter ${number} returned, as JSON`}
        value={returned} onChange={(event) => setReturned(event.target.value)} />
      <button type="button" aria-label={`redrive: it happened, letter ${number}`} onClick={happened}>redrive: it happened</button>
      <button type="button" aria-label={`redrive: it did not, letter ${number}`}
        onClick={() => perform("letter.redrive", { resolution: { done: false } })}>redrive: it did not</button>
      {problem && <span className="error" role="alert">{problem}</span>}
    </>
  );
}
