/** Everything that was recorded about one line: the work, and the message that asked for it. */

import { useEffect, useRef, type ReactNode } from "react";

import { useData } from "../api";
import { Waiting } from "../parts/Parts";
import type { Log, Span } from "../types";
import { count, percent, span, text } from "../words";
import { Logs } from "./Logs";
import { said } from "./messages";
import type { Line } from "./rows";

const CONVERSATION = ["gen_ai.system_instructions", "gen_ai.input.messages", "gen_ai.output.messages"] as const;

export function Details({ line, logs, onClose, onJump, focus }: {
  line: Line; logs: Log[]; onClose: () => void; onJump: (id: string) => void; focus: boolean;
}): ReactNode {
  const heading = useRef<HTMLHeadingElement>(null);
  const work = useData<Span>(`/api/spans/${line.id}`);
  const asked = useData<Span>(line.caller ? `/api/spans/${line.caller}` : null);
  useEffect(() => { if (focus) heading.current?.focus({ preventScroll: true }); }, [line.id, focus]);
  return (
    <aside className="details" aria-label="Details" onKeyDown={(event) => { if (event.key === "Escape") onClose(); }}>
      <button type="button" className="close" aria-label="close details" onClick={onClose}>×</button>
      <h2 ref={heading} tabIndex={-1}>{line.label}</h2>
      {work.data ? <Whole span={work.data} links={line.links} onJump={onJump} /> : <Waiting of={work} />}
      {logs.length ? <><h3>Logs</h3><Logs logs={logs} /></> : null}
      {asked.data && <details><summary>the message that asked: {asked.data.name}</summary><Facts span={asked.data} /></details>}
    </aside>
  );
}

function Whole({ span: s, links, onJump }: { span: Span; links: string[]; onJump: (id: string) => void }): ReactNode {
  return (
    <>
      {s.status_message && <p className="error">{s.status_message}</p>}
      <Tokens of={s.attributes} />
      <Conversation of={s.attributes} />
      {links.length ? (
        <p>continues{" "}
          {links.map((id) => <button key={id} type="button" className="mono" onClick={() => onJump(id)}>{id.slice(33, 45)}</button>)}
        </p>
      ) : null}
      <Facts span={s} />
    </>
  );
}

function Tokens({ of }: { of: Record<string, unknown> }): ReactNode {
  const number = (name: string): number => Number(of[`gen_ai.usage.${name}`] ?? 0) || 0;
  const [input, cached, output] = [number("input_tokens"), number("cache_read.input_tokens"), number("output_tokens")];
  if (!input && !output) return null;
  return (
    <p className="tokens">
      <meter min={0} max={Math.max(input, 1)} value={cached} aria-label="share of the prompt that was cached" />
      {count(input)} tokens in, {count(cached)} of them cached ({percent(input ? cached / input : 0)}); {count(output)} out
    </p>
  );
}

function Conversation({ of }: { of: Record<string, unknown> }): ReactNode {
  const [system, input, output] = CONVERSATION.map((name) => of[name]);
  const all = [...said(system, "system"), ...said(input, "user"), ...said(output, "assistant")];
  if (!all.length) return null;
  return (
    <>
      <h3>Conversation</h3>
      <ol className="talk">
        {all.map((each, n) => (
          <li key={n} className={each.role}>
            <b>{each.role}{each.tool ? ` · ${each.tool}` : ""}</b>
            <p>{each.text}</p>
          </li>
        ))}
      </ol>
    </>
  );
}

function Facts({ span: s }: { span: Span }): ReactNode {
  const hidden = new Set<string>(CONVERSATION);
  const pairs = Object.entries(s.attributes).filter(([k]) => !hidden.has(k)).sort(([a], [b]) => a.localeCompare(b));
  return (
    <>
      <List pairs={[["span", s.id], ["name", s.name], ["took", span(s.duration_ms)],
        ["started", new Date(s.start_unix_ms).toISOString()], ...pairs]} />
      {s.events.map((event, n) => (
        <div key={n}><h3>{event.name}</h3><List pairs={Object.entries(event.attributes)} /></div>
      ))}
    </>
  );
}

const List = ({ pairs }: { pairs: [string, unknown][] }): ReactNode => (
  <dl className="mono">
    {pairs.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{text(value)}</dd></div>)}
  </dl>
);
