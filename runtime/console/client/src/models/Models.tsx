/** How models serve: how soon they begin, how fast they write, how full they are, what they cost. */

import { useMemo, type ReactNode } from "react";

import { query as address, useData, useThrottled } from "../api";
import { useNews } from "../feed";
import { Select, Table, Waiting } from "../parts/Parts";
import { link, refine, useRoute } from "../route";
import { WINDOWS } from "../spending/windows";
import { amount, count, percent, some, span } from "../words";
import { Chart, type Line } from "./Chart";

interface Model {
  model: string;
  instance: string;
  tenant: string;
  calls: number;
  errors: number;
  ttft_p50_ms: number | null;
  ttft_p95_ms: number | null;
  inter_token_ms: number | null;
  tokens_per_s: number | null;
  queue_p95_ms: number | null;
  input_tokens: number;
  cached_tokens: number;
  output_tokens: number;
  batch: number | null;
  capacity: number | null;
  pages_used: number | null;
  pages_total: number | null;
  utilisation: number | null;
  cost_usd: number;
}

interface Series {
  step_s: number;
  unix_s: number[];
  p50_ms: number[];
  p95_ms: number[];
  input_tokens: number[];
  output_tokens: number[];
}

export default function Models(): ReactNode {
  const { query } = useRoute();
  const window = WINDOWS.find(([s]) => s === query.get("window_s"))?.[0] ?? "3600";
  const answer = useData<{ models: Model[]; truncated: boolean }>(address("/api/models", { window_s: window }));
  const model = query.get("model") ?? answer.data?.models[0]?.model ?? null;
  const series = useData<Series>(model ? address("/api/series", { window_s: window, points: 120, model }) : null);
  const refresh = useThrottled(() => { answer.reload(); series.reload(); }, 3_000);
  useNews((kind) => { if (kind === "runs") refresh(); });
  const names = [...new Set(answer.data?.models.map((each) => each.model))];
  return (
    <>
      <h1>Models</h1>
      <div className="filters">
        <Select label="window" value={window} choices={WINDOWS} onChange={(s) => refine({ window_s: s })} />
        {names.length > 1 && <Select label="model" value={model ?? ""} choices={names.map((name) => [name, name])} onChange={(name) => refine({ model: name })} />}
      </div>
      {!answer.data ? <Waiting of={answer} /> : answer.data.models.length ? (
        <>
          {answer.data.truncated && <p className="note">Only the latest calls of this window are counted.</p>}
          <Table name="Models" keys={answer.data.models.map((each) => `${each.model} ${each.instance} ${each.tenant}`)}
            columns={[["model"], ["instance", "wide"], ["tenant"], ["calls", "n"], ["first token p50, p95", "n"],
              ["between tokens", "n"], ["tokens a second", "n"], ["waited p95", "n"], ["tokens in", "n"], ["cached", "n"],
              ["out", "n"], ["batch", "n"], ["pages", "n"], ["busy", "n"], ["cost", "n"]]}
            rows={answer.data.models.map(cells)} />
          {series.data && series.data.unix_s.length > 1 && <Charts model={model ?? ""} series={series.data} />}
        </>
      ) : <p className="empty">No model was called in this time.</p>}
    </>
  );
}

const time = (ms: number | null): string => (ms === null ? "" : ms ? span(ms) : "0");
const number = (n: number | null): string => (n === null ? "" : String(Number(n.toPrecision(3))));

function cells(m: Model): ReactNode[] {
  return [
    <a href={link("runs", null, { model: m.model })}>{m.model}</a>,
    m.instance ? m.instance.replace(`model:${m.model}@`, "") : <span className="soft">none: a cache or an equal call answered</span>, m.tenant,
    m.errors ? <span className="error">{count(m.calls)} ({count(m.errors)} failed)</span> : count(m.calls),
    m.ttft_p50_ms === null ? "" : `${time(m.ttft_p50_ms)}, ${time(m.ttft_p95_ms)}`, time(m.inter_token_ms), number(m.tokens_per_s), time(m.queue_p95_ms),
    some(m.input_tokens), m.cached_tokens ? `${count(m.cached_tokens)} (${percent(m.cached_tokens / Math.max(m.input_tokens, 1))})` : "",
    some(m.output_tokens),
    m.batch === null ? "" : `${number(m.batch)}${m.capacity ? ` of ${m.capacity}` : ""}`,
    m.pages_total ? `${count(m.pages_used ?? 0)} of ${count(m.pages_total)}` : "",
    m.utilisation === null ? "" : percent(m.utilisation), m.cost_usd ? amount(m.cost_usd, "usd") : "",
  ];
}

function Charts({ model, series }: { model: string; series: Series }): ReactNode {
  const latency = useMemo((): Line[] => [
    { name: "p50", values: series.p50_ms, colour: "accent" }, { name: "p95", values: series.p95_ms, colour: "queue" },
  ], [series]);
  const tokens = useMemo((): Line[] => [
    { name: "in", values: series.input_tokens.map((n) => n / series.step_s), colour: "tool" },
    { name: "out", values: series.output_tokens.map((n) => n / series.step_s), colour: "decode" },
  ], [series]);
  return (
    <div className="charts">
      <Chart title={`${model}: latency of a call`} unix_s={series.unix_s} lines={latency} show={span} />
      <Chart title={`${model}: tokens a second`} unix_s={series.unix_s} lines={tokens} show={number} />
    </div>
  );
}
