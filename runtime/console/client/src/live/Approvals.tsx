/** Questions that tasks put to a person: yes, yes with changes, no. */

import { useState, type ReactNode } from "react";

import { act, useActions, useData, useThrottled } from "../api";
import { useNews } from "../feed";
import { link } from "../route";
import { when } from "../words";

interface Approval {
  id: string;
  run: string;
  agent: string;
  handler: string;
  to: string;
  proposal_type: string;
  proposal: Record<string, unknown>;
  asked_unix_ms: number;
  until_unix_ms: number | null;
}

export function Approvals(): ReactNode {
  const answer = useData<{ approvals: Approval[] }>("/api/approvals");
  const actions = useActions();
  const refresh = useThrottled(answer.reload, 1_000);
  useNews(refresh);
  if (!answer.data?.approvals.length) return answer.data ? <p className="soft">Nothing waits for a person.</p> : null;
  return (
    <section aria-label="Approvals">
      <h2>Waiting for a person</h2>
      {answer.data.approvals.map((each) => (
        <Question key={each.id} approval={each} may={actions.has("approval.answer")} done={answer.reload} />
      ))}
    </section>
  );
}

function Question({ approval: a, may, done }: { approval: Approval; may: boolean; done: () => void }): ReactNode {
  const original = JSON.stringify(a.proposal, null, 2);
  const [text, setText] = useState(original);
  const [editing, setEditing] = useState(false);
  const [comment, setComment] = useState("");
  const [problem, setProblem] = useState("");
  const answer = async (approved: boolean): Promise<void> => {
    try {
      const value: unknown = approved && text !== original ? JSON.parse(text) : null;
      await act("approval.answer", { id: a.id, approved, value, comment });
      done();
    } catch (error) {
      setProblem((error as Error).message);
    }
  };
  return (
    <article className="finding" aria-label={`${a.agent}.${a.handler} asks`}>
      <p>
        <b>{a.agent}.{a.handler}</b> asks {a.to || "anybody"} · {a.proposal_type} · {when(a.asked_unix_ms)}
        {a.until_unix_ms ? ` · until ${when(a.until_unix_ms)}` : ""} · <a href={link("runs", a.run)}>run</a>
      </p>
      {editing
        ? <textarea aria-label="proposal" className="mono" rows={8} value={text} onChange={(event) => setText(event.target.value)} />
        : <pre className="mono">{text}</pre>}
      {problem && <p className="error" role="alert">{problem}</p>}
      {may && (
        <p className="actions">
          <input aria-label="comment" placeholder="comment" value={comment} onChange={(event) => setComment(event.target.value)} />
          <button type="button" onClick={() => void answer(true)}>{text === original ? "approve" : "approve as edited"}</button>
          <button type="button" aria-pressed={editing} onClick={() => setEditing(!editing)}>edit</button>
          <button type="button" onClick={() => void answer(false)}>reject</button>
        </p>
      )}
    </article>
  );
}
