/** Runs, newest first, as they come. */

import { useState, type ReactNode } from "react";

import { query as address, useThrottled } from "../api";
import { useNews } from "../feed";
import { usePages } from "../parts/pages";
import { StatusBadge, Table, Waiting, type Column } from "../parts/Parts";
import { link, useRoute } from "../route";
import type { Run } from "../types";
import { amount, count, some, span, when } from "../words";
import { Filters, FILTERS } from "./Filters";
import { Series } from "./Series";
import { SetAside } from "./SetAside";

const COLUMNS: Column[] = [
  ["what", "wide"], ["status"], ["took", "n"], ["started", "n"], ["agents", "n"], ["spans", "n"], ["tokens in", "n"],
  ["out", "n"], ["cost", "n"], ["run"], ["compare"],
];

export default function Runs(): ReactNode {
  const { query } = useRoute();
  const wanted = Object.fromEntries(FILTERS.map((name) => [name, query.get(name)]));
  const pages = usePages<Run>(address("/api/runs", wanted), "runs", (run) => run.run);
  const [chosen, setChosen] = useState<string[]>([]);
  const refresh = useThrottled(pages.reload, 700);
  useNews((kind) => {
    if (kind === "runs" || kind === "reset") refresh();
  });

  const runs = pages.items ?? [];
  const choose = (run: string): void =>
    setChosen((old) => (old.includes(run) ? old.filter((each) => each !== run) : [...old, run].slice(-2)));

  return (
    <>
      <h1>Runs</h1>
      <SetAside />
      <Filters query={query} />
      <Series runs={runs} agent={query.get("agent")} model={query.get("model")} />
      {chosen.length === 2 && (
        <p><a className="button" href={link("compare", null, { a: chosen[0]!, b: chosen[1]! })}>Compare the two chosen runs</a></p>
      )}
      {pages.items === null || pages.error ? <Waiting of={pages} /> : null}
      {pages.items && !runs.length ? (
        <p className="empty">
          No runs here. Start a system with <code>antiphon run</code> and submit a task; it appears by itself.
        </p>
      ) : null}
      {runs.length ? (
        <Table name="Runs" columns={COLUMNS} keys={runs.map((run) => run.run)}
          rows={runs.map((run) => cells(run, chosen.includes(run.run), choose))} />
      ) : null}
      {pages.older && <p className="more"><button type="button" onClick={pages.older}>older runs</button></p>}
    </>
  );
}

function cells(run: Run, chosen: boolean, choose: (run: string) => void): ReactNode[] {
  const title = run.title || "(no name)";
  return [
    <a href={link("runs", run.run)}>{title}</a>,
    <>
      <StatusBadge name={run.status} />
      {run.errors ? <span className="error"> {count(run.errors)} failed</span> : null}
    </>,
    span(run.duration_ms),
    when(run.start_unix_ms),
    some(run.agents.length),
    count(run.spans),
    some(run.input_tokens),
    some(run.output_tokens),
    run.cost_usd ? amount(run.cost_usd, "usd") : "",
    <span className="mono soft">{run.run.slice(0, 12)}</span>,
    <input type="checkbox" aria-label={`compare ${title} ${run.run.slice(0, 12)}`} checked={chosen}
      onChange={() => choose(run.run)} />,
  ];
}
