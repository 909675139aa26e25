import type { ReactNode } from "react";

import { Table, type Column } from "../parts/Parts";
import type { Spending } from "../types";
import { count, some, span } from "../words";

/** Time and tokens by agent, operation and model. */
export function SpendingTable({ rows }: { rows: Spending[] }): ReactNode {
  const timed = rows.some((row) => row.own_s !== null);
  const columns: Column[] = [
    ["agent"], ["work"], ["calls", "n"], ["total", "n"], ...(timed ? [["own", "n"] satisfies Column] : []), ["waited", "n"],
    ["prefill", "n"], ["decode", "n"], ["p95", "n"], ["tokens in", "n"], ["cached", "n"], ["out", "n"],
  ];
  const time = (s: number | null): string => (s ? span(s * 1000) : "");
  return (
    <Table name="Time and tokens" columns={columns} rows={rows.map((row) => [
      row.agent || "–",
      row.operation === "process" ? "handler" : `${row.operation} ${row.model}`.trim(),
      row.errors ? <span className="error">{count(row.count)} ({count(row.errors)} failed)</span> : count(row.count),
      time(row.total_s), ...(timed ? [time(row.own_s)] : []), time(row.queue_s), time(row.prefill_s),
      time(row.decode_s), time(row.p95_s), some(row.input_tokens), some(row.cached_tokens), some(row.output_tokens),
    ])} />
  );
}
