/** Talk to any agent that takes a text. */

import { useEffect, useMemo, useRef, useState, type FormEvent, type ReactNode } from "react";

import { act, useActions, useData } from "../api";
import { Select, Waiting } from "../parts/Parts";
import { message, talk } from "../parts/schema";
import { link, refine, useRoute } from "../route";
import type { Directory } from "../types";
import { follow, OPEN, type Turn } from "./turns";

export default function Chat(): ReactNode {
  const directory = useData<Directory>("/api/agents");
  const actions = useActions();
  const { query } = useRoute();
  const handlers = useMemo(() => (directory.data?.agents ?? []).filter((agent) => !agent.observes).flatMap((agent) =>
    agent.handlers.flatMap((handler) => {
      const how = talk(handler.input.json_schema);
      return how ? [{ name: `${agent.name}.${handler.name}`, agent: agent.name, handler, ...how }] : [];
    }).sort((a, b) => Number(b.field === "text") - Number(a.field === "text"))), [directory.data]);
  const chosen = handlers.find((each) => each.name === query.get("with")) ?? handlers[0];
  const [turns, setTurns] = useState<Turn[]>([]);
  const [text, setText] = useState("");
  const [about, setAbout] = useState<Record<string, string>>({});
  const streams = useRef<(() => void)[]>([]);
  useEffect(() => () => streams.current.forEach((stop) => stop()), []);

  const busy = turns.filter((turn) => turn.state === "sent").length >= OPEN;

  const send = async (event: FormEvent): Promise<void> => {
    event.preventDefault();
    if (!chosen || !text.trim() || busy) return;
    const asked = text;
    setText("");
    const at = turns.length;
    const change = (next: Partial<Turn>): void =>
      setTurns((old) => old.map((turn, n) => (n === at ? { ...turn, ...next } : turn)));
    setTurns([...turns, { to: chosen.name, asked, shown: "", run: null, state: "sent", error: "" }]);
    try {
      const sent = await act<{ task: string; run: string }>("task.submit", {
        agent: chosen.agent, handler: chosen.handler.name,
        message: { ...message(chosen.others, about), [chosen.field]: asked },
      });
      change({ run: sent.run });
      streams.current.push(follow(sent.task, change));
    } catch (error) {
      change({ state: "failed", error: (error as Error).message });
    }
  };

  if (!directory.data) return <><h1>Chat</h1><Waiting of={directory} /></>;
  if (!chosen) return <><h1>Chat</h1><p className="empty">No agent takes a single text. Others are reached from Tasks.</p></>;
  if (!actions.has("task.submit")) return <><h1>Chat</h1><p className="empty">This server takes no tasks from its page.</p></>;
  return (
    <>
      <h1>Chat</h1>
      <div className="filters">
        <Select label="agent" value={chosen.name} choices={handlers.map(({ name }) => [name, name])}
          onChange={(name) => refine({ with: name })} />
        {chosen.others.map(({ name }) => (
          <input key={name} aria-label={name} placeholder={name} value={about[name] ?? ""}
            onChange={(event) => setAbout({ ...about, [name]: event.target.value })} />
        ))}
      </div>
      <ol className="talk" aria-live="polite">
        {turns.map((turn, n) => <Said key={n} turn={turn} />)}
      </ol>
      <form className="say" onSubmit={(event) => void send(event)}>
        <textarea rows={2} aria-label={`to ${chosen.name}`} placeholder={`to ${chosen.name}`} value={text}
          onChange={(event) => setText(event.target.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter" && !event.shiftKey) event.currentTarget.form?.requestSubmit(), event.preventDefault();
          }} />
        <button type="submit" disabled={busy} title={busy ? `${OPEN} answers are still to come` : undefined}>send</button>
      </form>
    </>
  );
}

const Said = ({ turn }: { turn: Turn }): ReactNode => (
  <>
    <li className="user"><b>you, to {turn.to}</b><p>{turn.asked}</p></li>
    <li className="assistant">
      <b>{turn.to}{turn.run && <> · <a href={link("runs", turn.run)}>run</a></>}</b>
      <p>{turn.shown || (turn.state === "sent" ? "…" : "")}</p>
      {turn.error && <p className="error" role="alert">{turn.error}</p>}
    </li>
  </>
);
