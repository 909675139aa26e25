/** One run: what happened when, and why it took so long. */

import { useMemo, useState, type ReactNode } from "react";

import { useThrottled } from "../api";
import { useNews, type RunsNews } from "../feed";
import { StatusBadge } from "../parts/Parts";
import { link, refine, useRoute } from "../route";
import { SpendingTable } from "../spending/SpendingTable";
import type { Run, RunSpending } from "../types";
import { amount, count, some, span, when } from "../words";
import { Details } from "./Details";
import { useRun } from "./load";
import { Logs } from "./Logs";
import { Waterfall } from "./Waterfall";

const LEGEND = [
  ["handler", "agent at work"], ["queue", "waiting in a queue"], ["call", "caller waiting"], ["prefill", "model reads"],
  ["decode", "model writes"], ["tool", "tool"], ["critical", "critical path"],
] as const;

export default function RunPage(): ReactNode {
  const { id, query } = useRoute();
  const { loaded, error, reload } = useRun(id ?? "");
  const [details, setDetails] = useState(query.has("span"));
  const refresh = useThrottled(reload, loaded && loaded.lines.length > 5_000 ? 10_000 : 1_000);
  useNews((kind, data) => {
    if (kind === "reset" || (kind === "runs" && (data as RunsNews).runs.some((each) => each.run === id))) refresh();
  });
  const places = useMemo(() => {
    const found = new Map<string, number>();
    loaded?.lines.forEach((line, at) => {
      for (const name of [line.id, line.caller]) {
        if (name) found.set(name, at).set(name.slice(33), at); // findings name the second half
      }
    });
    return found;
  }, [loaded]);
  const marked = useMemo(() => {
    const named = (query.get("evidence") ?? "").split(",").filter(Boolean);
    return new Set(named.flatMap((name) => places.get(name) ?? []));
  }, [places, query.get("evidence")]);

  if (!loaded) {
    return (
      <>
        <h1>Run</h1>
        {error ? <p className="note bad" role="alert">{error.message}</p> : <p className="soft">loading…</p>}
      </>
    );
  }
  const { run, logs } = loaded.detail;
  const chosen = query.get("span");
  const selected = chosen !== null ? places.get(chosen) ?? -1 : [...marked][0] ?? -1;
  const line = loaded.lines[selected];
  const jump = (to: string): void => { if (places.has(to)) { refine({ span: to }); setDetails(true); } };
  const close = (): void => {
    setDetails(false);
    document.querySelector<HTMLElement>(".fall-scroll")?.focus({ preventScroll: true });
  };
  return (
    <>
      <h1>{run.title || "run"} <StatusBadge name={run.status} /></h1>
      <div><span className="mono soft">{run.run}</span> · <a href={link("whatif", null, { run: run.run })}>what if</a></div>
      <Totals run={run} />
      {error && <p className="note bad" role="alert">{error.message}</p>}
      {loaded.loading && <p className="soft" role="status">the first {count(loaded.lines.length)} rows; more is coming…</p>}
      {loaded.hidden > 0 && <p className="note">The latest {count(loaded.hidden)} spans are not shown.</p>}
      {!loaded.linked && <p className="note">It has more links than are drawn.</p>}
      {loaded.detail.truncated && !loaded.loading && logs.length >= 1000 && <p className="note">Only the earliest logs are shown.</p>}
      {marked.size > 0 && <p className="note">{marked.size === 1 ? "1 row is" : `${count(marked.size)} rows are`} evidence of a <a href={link("findings")}>finding</a>.</p>}
      <div className="legend" aria-hidden="true">
        {LEGEND.map(([key, words]) => <span key={key}><i className={`key ${key}`} />{words}</span>)}
      </div>
      <div className={details && line ? "run-view with-details" : "run-view"}>
        <Waterfall lines={loaded.lines} logs={logs} total={run.duration_ms} marked={marked} selected={selected}
          onSelect={(at, open) => {
            refine({ span: loaded.lines[at]!.id });
            if (open) setDetails(true);
          }} />
        {details && line && (
          <Details key={line.id} line={line} focus={details} onClose={close} onJump={jump}
            logs={logs.filter((log) => log.span && (log.span === line.id || log.span === line.caller))} />
        )}
      </div>
      <p className="soft keys">
        <kbd>↑</kbd> <kbd>↓</kbd> move · <kbd>←</kbd> <kbd>→</kbd> fold · <kbd>Enter</kbd> details · <kbd>/</kbd> find
        · <kbd>n</kbd> next · <kbd>+</kbd> <kbd>-</kbd> <kbd>0</kbd> or Ctrl and wheel zoom · Shift and wheel move in time
      </p>
      {logs.length ? <><h2>Logs</h2><Logs logs={logs} onJump={jump} /></> : null}
      {loaded.spent?.spending.length ? <Spent of={loaded.spent} all={run.spans} /> : null}
    </>
  );
}

const Spent = ({ of, all }: { of: RunSpending; all: number }): ReactNode => (
  <>
    <h2>Where time and tokens went</h2>
    {of.spans < all && <p className="note">In the earliest {count(of.spans)} of {count(all)} spans.</p>}
    <SpendingTable rows={of.spending} />
  </>
);

function Totals({ run }: { run: Run }): ReactNode {
  const facts: [string, string][] = [
    ["", span(run.duration_ms)], ["started", when(run.start_unix_ms)], ["spans", count(run.spans)],
    ["unfinished", some(run.unfinished)], ["failed", some(run.errors)], ["agents", some(run.agents.length)],
    ["model calls", some(run.model_calls)], ["tokens in", some(run.input_tokens)],
    ["of them cached", some(run.cached_tokens)], ["tokens out", some(run.output_tokens)],
    ["cost", run.cost_usd ? amount(run.cost_usd, "usd") : ""],
  ];
  return (
    <ul className="facts">
      {facts.map(([name, value]) => (value ? <li key={name}><b>{value}</b> {name}</li> : null))}
    </ul>
  );
}
