/** How latency and tokens go: of everything in the last hour where the server keeps count, else of the listed runs. */

import type { ReactNode } from "react";

import { query, useData, useThrottled } from "../api";
import { useNews } from "../feed";
import { Sparkline } from "../parts/Parts";
import type { Run } from "../types";
import { count, span } from "../words";

interface Points {
  unix_s: number[];
  count: number[];
  /** null: nothing ended then. */
  p95_ms: (number | null)[];
  input_tokens: number[];
  output_tokens: number[];
}

export function Series({ runs, agent, model }: { runs: Run[]; agent: string | null; model: string | null }): ReactNode {
  const { data, reload } = useData<Points>(query("/api/series", { window_s: 3600, points: 60, agent, model }));
  const refresh = useThrottled(reload, 3_000);
  useNews((kind) => { if (kind === "runs" || kind === "reset") refresh(); });
  const busy = data !== null && data.count.some(Boolean);
  const oldest = [...runs].reverse();
  const latency = busy ? data.p95_ms : oldest.map((run) => run.duration_ms);
  const tokens = busy
    ? data.input_tokens.map((n, at) => n + (data.output_tokens[at] ?? 0))
    : oldest.map((run) => run.input_tokens + run.output_tokens);
  if (latency.length < 2) return null;
  const of = busy ? "of operations, last hour" : `of ${count(runs.length)} runs`;
  const slowest = span(Math.max(...latency.map((ms) => ms ?? 0)));
  const most = count(Math.max(...tokens));
  return (
    <div className="series">
      <figure>
        <Sparkline values={latency} label={`${busy ? "p95 latency" : "latency"} ${of}, at most ${slowest}`} />
        <figcaption>{busy ? "p95 latency" : "latency"} {of}; at most {slowest}</figcaption>
      </figure>
      {tokens.some(Boolean) && (
        <figure>
          <Sparkline values={tokens} label={`tokens ${of}, at most ${most}`} />
          <figcaption>tokens {of}; at most {most}</figcaption>
        </figure>
      )}
    </div>
  );
}
