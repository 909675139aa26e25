/** Messages as they pass, and what waits for a person. */

import { useCallback, useEffect, useRef, useState, type ReactNode } from "react";

import { get, query as address, Refused, useThrottled } from "../api";
import { useNews } from "../feed";
import { Table } from "../parts/Parts";
import { link, refine, useRoute } from "../route";
import { count, when } from "../words";
import { Approvals } from "./Approvals";

const KEPT = 500;

interface Passed {
  id: string;
  run: string;
  unix_ms: number;
  operation: string;
  subject: string;
  from: string;
  bytes: number | null;
  error: boolean;
}

export default function Live(): ReactNode {
  const { query } = useRoute();
  const filter = query.get("filter") ?? "";
  const [paused, setPaused] = useState(false);
  const { messages, problem, missing, ask } = useMessages(filter, paused);
  const more = useThrottled(ask, 500);
  useNews((kind) => { if (kind === "runs") more(); });
  const take = (text: string): void => refine({ filter: text.trim() || null });
  return (
    <>
      <h1>Live</h1>
      <Approvals />
      {!missing && (
        <>
          <h2>Messages</h2>
          <div className="filters">
            <input key={filter} type="search" aria-label="subject, with * and >" placeholder="subject, with * and >"
              className="mono wide" defaultValue={filter} onBlur={(event) => take(event.target.value)}
              onKeyDown={(event) => { if (event.key === "Enter") take(event.currentTarget.value); }} />
            <button type="button" aria-pressed={paused} onClick={() => setPaused(!paused)}>
              {paused ? "go on" : "pause"}
            </button>
          </div>
          {problem && <p className="note bad" role="alert">{problem}</p>}
          {messages.length ? (
            <Table name="Messages" keys={messages.map((each) => each.id)}
              columns={[["at"], ["from"], ["how"], ["subject"], ["bytes", "n"], ["run"]]}
              rows={messages.map((each) => [
                when(each.unix_ms), each.from || "outside",
                each.error ? <span className="error">{each.operation} failed</span> : each.operation,
                <span className="mono">{each.subject}</span>, each.bytes === null ? "" : count(each.bytes),
                <a className="mono" href={link("runs", each.run, { span: each.id })}>{each.run.slice(0, 12)}</a>,
              ])} />
          ) : <p className="empty">Nothing has passed{filter ? " that fits" : ""}. Messages appear here by themselves.</p>}
        </>
      )}
    </>
  );
}

/** The newest messages that fit, newest first; `ask` fetches what came since. Paused, only another filter asks. */
function useMessages(filter: string, paused: boolean): { messages: Passed[]; problem: string; missing: boolean; ask: () => void } {
  const [messages, setMessages] = useState<Passed[]>([]);
  const [problem, setProblem] = useState("");
  const [missing, setMissing] = useState(false);
  const after = useRef<{ filter: string; next: string | null }>({ filter, next: null });
  const held = useRef(paused);
  held.current = paused;
  const ask = useCallback(() => {
    if (after.current.filter !== filter) after.current = { filter, next: null };
    const from = after.current.next;
    const late = (): boolean => held.current && from !== null;
    if (late()) return;
    get<{ messages: Passed[]; next: string | null; more: boolean }>(address("/api/messages", { after: from, filter, limit: 200 })).then(
      (page) => {
        if (late() || after.current.filter !== filter || after.current.next !== from) return; // an answer that was overtaken
        after.current.next = page.next ?? from;
        setProblem("");
        setMessages((old) => {
          const fresh = new Map([...page.messages, ...(from === null ? [] : old)].map((each) => [each.id, each]));
          return [...fresh.values()].sort((a, b) => b.unix_ms - a.unix_ms).slice(0, KEPT);
        });
        if (page.more) ask();
      },
      (error: Error) => {
        setMissing(error instanceof Refused && error.status === 404);
        setProblem(error.message);
      },
    );
  }, [filter]);
  useEffect(ask, [ask, paused]);
  return { messages, problem, missing, ask };
}
