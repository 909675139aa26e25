/** What would have been: quantities, how runs would be spread, and one run before and after. */

import type { ReactNode } from "react";

import { Table } from "../parts/Parts";
import { link } from "../route";
import type { Estimate } from "../types";
import { amount, count, percent, span } from "../words";
import { histogram } from "./question";

export interface Answered {
  runs: number;
  left_out: Record<string, number>;
  rows: { name: string; unit: string; before: number; after: number; saving: Estimate }[];
  before_s: number[];
  after_s: number[];
  fidelity: number;
  assumptions: string[];
  waterfall?: { run: string; steps: Step[] } | null;
}

interface Step {
  label: string;
  depth: number;
  before: [number, number];
  after: [number, number] | null;
}

const BINS = 16;
const STEPS = 200;

export function Answer({ of }: { of: Answered }): ReactNode {
  const out = Object.entries(of.left_out);
  return (
    <section aria-label="Answer">
      <h2>{count(of.runs)} runs</h2>
      <p className="soft">
        Replayed unchanged within {(of.fidelity * 100).toFixed(1)} % of the record (median).
        {out.length ? ` Left out: ${out.map(([why, n]) => `${count(n)} (${why})`).join(", ")}.` : ""}
      </p>
      <Table name="Before and after"
        columns={[["quantity"], ["before", "n"], ["after", "n"], ["saving", "n"], ["90 % interval", "n"]]}
        rows={of.rows.map((row) => [
          row.name, amount(row.before, row.unit), amount(row.after, row.unit),
          <span className={row.saving.low > 0 ? "ok" : row.saving.high < 0 ? "error" : ""}>
            {amount(row.saving.point, row.unit)}{row.before && row.saving.point ? ` (${percent(row.saving.point / row.before)})` : ""}
          </span>,
          `${amount(row.saving.low, row.unit)} to ${amount(row.saving.high, row.unit)}`,
        ])} />
      {of.before_s.length > 1 && <Spread before={of.before_s} after={of.after_s} />}
      {of.waterfall?.steps.length ? <Steps run={of.waterfall.run} steps={of.waterfall.steps} /> : null}
      {of.assumptions.length ? <p className="soft">assumes: {of.assumptions.join(" ")}</p> : null}
    </section>
  );
}

function Spread({ before, after }: { before: number[]; after: number[] }): ReactNode {
  const low = Math.min(...before, ...after);
  const high = Math.max(...before, ...after);
  const [was, becomes] = [histogram(before, low, high, BINS), histogram(after, low, high, BINS)];
  const most = Math.max(...was, ...becomes, 1);
  const bars = (counts: number[], shift: number, name: string): ReactNode =>
    counts.map((n, at) => <rect key={at} className={name} x={at * 20 + shift} width="8" y={60 - (60 * n) / most} height={(60 * n) / most} />);
  return (
    <figure className="card spread">
      <svg viewBox={`0 0 ${BINS * 20} 60`} role="img" preserveAspectRatio="none"
        aria-label={`latency of ${before.length} runs, before and after`}>
        {bars(was, 1, "before")}{bars(becomes, 10, "after")}
      </svg>
      <figcaption>runs by latency, {span(low * 1000)} to {span(high * 1000)}: grey before, blue after</figcaption>
    </figure>
  );
}

/** How long it took, and how long it would. */
function took({ before, after }: Step): string {
  const was = span(before[1] - before[0]);
  if (!after) return `${was} → not done`;
  const is = span(after[1] - after[0]);
  return was === is ? was : `${was} → ${is}`;
}

function Steps({ run, steps }: { run: string; steps: Step[] }): ReactNode {
  const whole = Math.max(...steps.flatMap((step) => [step.before[1], step.after?.[1] ?? 0]), 0.001);
  const bar = ([start, end]: [number, number], name: string, y: number): ReactNode =>
    <rect className={name} x={(100 * start) / whole} width={Math.max((100 * (end - start)) / whole, 0.3)} y={y} height="5" />;
  return (
    <>
      <h2>One run, before and after</h2>
      <p className="soft">
        Grey: <a href={link("runs", run)}>a run</a> as recorded. Blue: as it would be, with a saving in the middle of all that change (hopeful replay).
      </p>
      <ol className="steps">
        <li className="scale" aria-hidden="true"><span /><span><i>0</i><i>{span(whole / 2)}</i><i>{span(whole)}</i></span><small>took</small></li>
        {steps.slice(0, STEPS).map((step, n) => (
          <li key={n}>
            <span className={step.after ? "" : "gone"} title={step.label} style={{ paddingLeft: Math.min(step.depth, 10) * 12 }}>{step.label}</span>
            <svg viewBox="0 0 100 14" preserveAspectRatio="none" aria-hidden="true">
              {bar(step.before, "before", 1)}{step.after && bar(step.after, "after", 8)}
            </svg>
            <small>{took(step)}</small>
          </li>
        ))}
      </ol>
      {steps.length > STEPS && <p className="soft">{count(steps.length - STEPS)} more steps are left out.</p>}
    </>
  );
}
