/** Who is there, what each takes, and how complete the record of it is. */

import type { ReactNode } from "react";

import { useData } from "../api";
import { Table, Waiting } from "../parts/Parts";
import { link } from "../route";
import type { AgentCard, Directory } from "../types";
import { count, some, when } from "../words";

interface Health {
  nodes: { node: string; batches: number; missing: number; dropped: number }[];
  rejected: number;
}

export default function Agents(): ReactNode {
  const directory = useData<Directory>("/api/agents");
  const health = useData<Health>("/api/health");
  const known = new Map(health.data?.nodes.map((node) => [node.node, node]));
  const sum = (part: "missing" | "dropped"): number => health.data?.nodes.reduce((all, n) => all + n[part], 0) ?? 0;
  const holes = sum("missing") + sum("dropped") + (health.data?.rejected ?? 0);
  if (!directory.data) return <><h1>Agents</h1><Waiting of={directory} /></>;
  const { nodes, agents } = directory.data;
  return (
    <>
      <h1>Agents</h1>
      {holes > 0 && (
        <p className="note">
          The record has holes: {count(sum("missing"))} batches missing, {count(sum("dropped"))} records dropped by nodes,{" "}
          {count(health.data?.rejected ?? 0)} messages unreadable.
        </p>
      )}
      {agents.length ? (
        <div className="cards">
          {agents.map((agent) => (
            <Card key={agent.name} agent={agent} on={nodes.filter((n) => n.agents.includes(agent.name)).map((n) => n.node)} />
          ))}
        </div>
      ) : <p className="empty">No agents known. <code>antiphon run FILE.py:system</code> starts some.</p>}
      <h2>Nodes</h2>
      {nodes.length ? (
        <Table name="Nodes" keys={nodes.map((n) => n.node)}
          columns={[["node"], ["kind"], ["host"], ["pid", "n"], ["agents", "wide"], ["models"], ["up since", "n"],
            ["batches", "n"], ["missing", "n"], ["dropped", "n"]]}
          rows={nodes.map((n) => [
            <span className="mono">{n.node}</span>, n.kind, n.host, String(n.pid), n.agents.join(", "), n.models.join(", "),
            when(n.started_unix_ms), some(known.get(n.node)?.batches), some(known.get(n.node)?.missing),
            some(known.get(n.node)?.dropped),
          ])} />
      ) : <p className="empty">No node is alive.</p>}
    </>
  );
}

function Card({ agent, on }: { agent: AgentCard; on: string[] }): ReactNode {
  const facts = [agent.model ? `model ${agent.model}` : "", `${agent.slots} slots a node`, on.length ? `on ${on.join(", ")}` : ""];
  return (
    <section className="card" aria-label={agent.name}>
      <h2>
        {agent.name} <span className={`status ${on.length ? "ok" : "error"}`}>{on.length ? "alive" : "no node"}</span>
      </h2>
      <p className="soft">{agent.description || "(no description)"}</p>
      {agent.handlers.map((h) => (
        <p key={h.name} className="mono">{agent.name}.{h.name}({h.input.name}) → {h.output.name}</p>
      ))}
      <p className="soft">{facts.filter(Boolean).join(" · ")}</p>
      <p><a href={link("runs", null, { agent: agent.name })}>runs of {agent.name}</a></p>
    </section>
  );
}
