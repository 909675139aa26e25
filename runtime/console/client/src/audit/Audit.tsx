/** What people changed through the console, the newest first: who, what, and how it ended. */

import { useState, type ReactNode } from "react";

import { get, query as address, useData, useThrottled } from "../api";
import { useNews } from "../feed";
import { StatusBadge, Table, Waiting } from "../parts/Parts";
import { leaves, when } from "../words";

export interface Act {
  id: number;
  unix_ms: number;
  action: string;
  by: string;
  arguments: Record<string, unknown>;
  /** `begun`: nobody knows how it ended. */
  outcome: "begun" | "ok" | "failed";
  message: string;
}

export interface Acts {
  actions: Act[];
  /** The `before` of the next page. */
  next: number | null;
}

export default function Audit(): ReactNode {
  const newest = useData<Acts>("/api/audit?limit=100");
  const [older, setOlder] = useState<Acts | null>(null);
  const [problem, setProblem] = useState("");
  useNews(useThrottled(newest.reload, 1_000));
  if (!newest.data) return <><h1>Audit</h1><Waiting of={newest} /></>;
  const seen = new Set(newest.data.actions.map((each) => each.id));
  const acts = [...newest.data.actions, ...(older?.actions.filter((each) => !seen.has(each.id)) ?? [])];
  const next = older ? older.next : newest.data.next;
  const more = (): void => {
    get<Acts>(address("/api/audit", { limit: 100, before: next })).then(
      (page) => setOlder({ actions: [...acts, ...page.actions], next: page.next }),
      (error: Error) => setProblem(error.message),
    );
  };
  return (
    <>
      <h1>Audit</h1>
      <p className="soft">Each action is written down before it is tried, and then how it ended.</p>
      {acts.length ? (
        <Table name="Actions" keys={acts.map((each) => String(each.id))}
          columns={[["when", "n"], ["who"], ["action"], ["outcome"], ["with", "wide"], ["said", "wide"]]}
          rows={acts.map((each) => [
            when(each.unix_ms), each.by, each.action, <StatusBadge name={each.outcome} />,
            <span className="mono">{leaves(each.arguments).join(" ")}</span>, each.message,
          ])} />
      ) : <p className="empty">Nobody has changed anything here.</p>}
      {problem && <p className="note bad" role="alert">{problem}</p>}
      {next && <p className="more"><button type="button" onClick={more}>older actions</button></p>}
    </>
  );
}
