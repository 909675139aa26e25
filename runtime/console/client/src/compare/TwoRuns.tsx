/** Two runs, aligned: where the second spent more, or less, and where it said something else. */

import { useState, type ReactNode } from "react";

import { query as address, useData } from "../api";
import { Table, Waiting } from "../parts/Parts";
import { link, refine, useRoute } from "../route";
import { count, span } from "../words";
import { Delta, Signed } from "./Delta";

interface Step {
  label: string;
  depth: number;
  left_s: number | null;
  right_s: number | null;
  same: boolean | null;
  said: [string, string] | null;
}

interface Side {
  run: string;
  latency_s: number;
  critical_s: Record<string, number>;
}

const SHOWN = 500;

export function TwoRuns(): ReactNode {
  const { query } = useRoute();
  const [a, b] = [query.get("a") ?? "", query.get("b") ?? ""];
  const answer = useData<{ left: Side; right: Side; rows: Step[] }>(a && b ? address("/api/compare", { left: a, right: b }) : null);
  const [changed, setChanged] = useState(false);
  const steps = answer.data?.rows ?? [];
  const most = Math.max(...steps.map((step) => Math.abs(delta(step))), 1e-9);
  const shown = changed
    ? steps.filter((step) => Math.abs(delta(step)) > 0.1 * most || step.left_s === null || step.right_s === null || step.same === false)
    : steps;
  return (
    <>
      <div className="filters">
        <Name label="first run" name="a" value={a} />
        <Name label="second run" name="b" value={b} />
        <button type="button" aria-pressed={changed} onClick={() => setChanged(!changed)}>only what changed</button>
      </div>
      {!(a && b) ? <p className="empty">Choose two runs in <a href={link("runs")}>Runs</a>, by the box at the end of their lines.</p>
        : !answer.data ? <Waiting of={answer} /> : (
          <>
            <p>
              <a href={link("runs", a)}>{a.slice(0, 12)}</a> took {span(answer.data.left.latency_s * 1000)},{" "}
              <a href={link("runs", b)}>{b.slice(0, 12)}</a> {span(answer.data.right.latency_s * 1000)}.
            </p>
            <h2>What their ends waited for</h2>
            <Table name="Critical paths" columns={[["work"], ["first", "n"], ["second", "n"], ["difference", "n"]]}
              rows={critical(answer.data.left, answer.data.right)} />
            <h2>Work</h2>
            <Table name="Work of both"
              columns={[["work", "wide"], ["first", "n"], ["second", "n"], ["difference", "n"], ["less or more"], ["results"]]}
              rows={shown.slice(0, SHOWN).map((step) => cells(step, most))} />
            {shown.length > SHOWN && <p className="soft">{count(shown.length - SHOWN)} more lines are left out.</p>}
          </>
        )}
    </>
  );
}

const delta = ({ left_s, right_s }: Step): number => (right_s ?? 0) - (left_s ?? 0);
const time = (s: number | null | undefined): string => (s === null || s === undefined ? "–" : span(s * 1000));
const signed = (s: number): ReactNode => <Signed by={s} unit="s" />;

/** Seconds on the critical path by label, the largest difference first. */
function critical(left: Side, right: Side): ReactNode[][] {
  const labels = [...new Set([...Object.keys(left.critical_s), ...Object.keys(right.critical_s)])];
  const by = (label: string): number => (right.critical_s[label] ?? 0) - (left.critical_s[label] ?? 0);
  return labels
    .sort((one, two) => Math.abs(by(two)) - Math.abs(by(one)))
    .map((label) => [label, time(left.critical_s[label]), time(right.critical_s[label]), signed(by(label))]);
}

function cells(step: Step, most: number): ReactNode[] {
  const by = delta(step);
  return [
    <span style={{ paddingLeft: Math.min(step.depth, 12) * 14 }}>{step.label}</span>,
    time(step.left_s), time(step.right_s), signed(by),
    <Delta by={by} most={most} />,
    step.same === null ? "" : step.same ? "same" : <span className="error" title={step.said?.join("\n\n")}>differ</span>,
  ];
}

function Name({ label, name, value }: { label: string; name: string; value: string }): ReactNode {
  const take = (text: string): void => { if (text !== value) refine({ [name]: text.trim() || null }); };
  return (
    <input key={value} type="search" className="mono wide" aria-label={label} placeholder={label} defaultValue={value}
      onBlur={(event) => take(event.target.value)}
      onKeyDown={(event) => { if (event.key === "Enter") take(event.currentTarget.value); }} />
  );
}
