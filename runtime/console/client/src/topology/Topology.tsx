/** Who talked to whom: nodes and edges that were recorded, never guessed. */

import { useMemo, type ReactNode } from "react";

import { query as address, useData, useThrottled } from "../api";
import { useNews } from "../feed";
import { Select, Table, Waiting } from "../parts/Parts";
import { link, refine, useRoute } from "../route";
import { count, some, span } from "../words";
import { Drawing } from "./Drawing";
import { waiting, type Edge, type Node } from "./graph";

const WINDOWS = [["300", "last 5 minutes"], ["3600", "last hour"], ["86400", "last day"]] as const;

interface Answer {
  nodes: Node[];
  edges: Edge[];
  truncated: boolean;
  window_s: number;
  spans: number;
}

export default function Topology(): ReactNode {
  const { query } = useRoute();
  const window = WINDOWS.find(([s]) => s === query.get("window_s"))?.[0] ?? "3600";
  const answer = useData<Answer>(address("/api/topology", { window_s: window }));
  const refresh = useThrottled(answer.reload, 3_000);
  useNews((kind) => { if (kind === "runs") refresh(); });
  const names = useMemo(() => new Map(answer.data?.nodes.map((node) => [node.id, node.name])), [answer.data]);
  return (
    <>
      <h1>Topology</h1>
      <div className="filters">
        <Select label="window" value={window} choices={WINDOWS} onChange={(s) => refine({ window_s: s })} />
      </div>
      {!answer.data ? <Waiting of={answer} /> : answer.data.nodes.length ? (
        <>
          {answer.data.truncated && <p className="note">Only the latest {count(answer.data.spans)} spans are counted, of the last {span(answer.data.window_s * 1000)}.</p>}
          <Drawing nodes={answer.data.nodes} edges={answer.data.edges} />
          <h2>Places</h2>
          <Table name="Places" keys={answer.data.nodes.map((node) => node.id)}
            columns={[["name"], ["what"], ["calls", "n"], ["a second", "n"], ["p95", "n"], ["waited p95", "n"], ["waiting", "n"]]}
            rows={answer.data.nodes.map((node) => [
              named(node.id, names), node.kind, failing(node), node.rate_per_s.toPrecision(2), time(node.p95_ms),
              time(node.queue_p95_ms), some(waiting(node)),
            ])} />
          <h2>Edges</h2>
          <Table name="Edges"
            columns={[["from"], ["how"], ["to"], ["subjects"], ["calls", "n"], ["a second", "n"], ["p50", "n"], ["p95", "n"],
              ["waited p95", "n"], ["waiting", "n"]]}
            rows={answer.data.edges.map((edge) => [
              named(edge.from, names), edge.kind, named(edge.to, names), <Subjects of={edge.subjects} />, failing(edge),
              edge.rate_per_s.toPrecision(2), time(edge.p50_ms), time(edge.p95_ms), time(edge.queue_p95_ms), some(edge.depth),
            ])} />
        </>
      ) : <p className="empty">Nobody asked anybody in this time.</p>}
    </>
  );
}

const time = (ms: number | null | undefined): string => (ms === null || ms === undefined ? "" : ms ? span(ms) : "0");

const failing = ({ count: calls, errors }: Node | Edge): ReactNode =>
  errors ? <span className="error">{count(calls)} ({count(errors)} failed)</span> : count(calls);

/** Each leads to the messages that pass on it. */
function Subjects({ of }: { of: readonly string[] }): ReactNode {
  return of.map((subject) => (
    <div key={subject}><a className="mono" href={link("live", null, { filter: subject })}>{subject}</a></div>
  ));
}

/** A name that leads to the runs in which it took part. */
function named(id: string, names: ReadonlyMap<string, string>): ReactNode {
  const name = names.get(id) ?? id;
  const kind = id.split(":", 1)[0];
  return kind === "agent" || kind === "model" ? <a href={link("runs", null, { [kind]: name })}>{name}</a> : name;
}
