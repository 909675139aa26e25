/** Two groups of runs: quantities with intervals, and where a mean run of each spends its time. */

import { useState, type FormEvent, type ReactNode } from "react";

import { post } from "../api";
import { asked, cohort, said, type Cohort } from "../cohort/cohort";
import { CohortForm } from "../cohort/CohortForm";
import { useNames } from "../cohort/names";
import { Table } from "../parts/Parts";
import { refine, useRoute } from "../route";
import { amount, count, percent } from "../words";
import { Delta, Signed } from "./Delta";
import { verdict, type Measured } from "./measured";

interface Spent {
  count: number;
  own_s: number;
  critical_s: number;
}

interface Contrast {
  runs: [number, number];
  left_out: [Record<string, number>, Record<string, number>];
  both: number;
  measured: Measured[];
  operations: { label: string; first: Spent; second: Spent; own: Measured; critical: Measured }[];
  more: number;
}

const FEW = 10; // runs, below which such an interval is too narrow

export function TwoCohorts(): ReactNode {
  const { query } = useRoute();
  const cohorts: [Cohort, Cohort] = [cohort(query, "a."), cohort(query, "b.")];
  const names = useNames();
  const [answer, setAnswer] = useState<{ to: string; said: Contrast; of: [string, string] } | null>(null);
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const wish = JSON.stringify({ first: asked(cohorts[0]), second: asked(cohorts[1]) });
  const ask = async (event: FormEvent): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    try {
      const found = (await (await post("/api/compare", JSON.parse(wish))).json()) as Contrast;
      setAnswer({ to: wish, said: found, of: [said(cohorts[0]), said(cohorts[1])] });
      setProblem("");
    } catch (error) {
      setProblem((error as Error).message);
    }
    setBusy(false);
  };
  const copy = (): void =>
    refine(Object.fromEntries([...query].flatMap(([name, value]) => (name.startsWith("a.") ? [[`b.${name.slice(2)}`, value]] : []))));
  return (
    <>
      <form className="card" onSubmit={(event) => void ask(event)}>
        <h2>First</h2>
        <CohortForm name="first" of={cohorts[0]} names={names} prefix="a." />
        <h2>Second</h2>
        <p><button type="button" onClick={copy}>same as the first</button></p>
        <CohortForm name="second" of={cohorts[1]} names={names} prefix="b." />
        <button type="submit" disabled={busy}>{busy ? "comparing…" : "compare"}</button>{" "}
        <span className="soft">Up to {count(200)} of the newest runs of each that have ended.</span>
      </form>
      {problem && <p className="note bad" role="alert">{problem}</p>}
      {answer && answer.to !== wish && <p className="note">This answers what was asked before: compare again.</p>}
      {answer && <Answer {...answer.said} of={answer.of} />}
    </>
  );
}

function Answer({ runs, left_out, both, measured, operations, more, of }: Contrast & { of: [string, string] }): ReactNode {
  const out = left_out.map((each) => Object.entries(each).map(([why, n]) => `; left out ${count(n)}: ${why}`).join(""));
  const most = Math.max(...operations.map(({ critical }) => Math.abs(critical.difference)), 1e-9);
  return (
    <section aria-label="Two cohorts">
      <ul className="plain">
        <li>first: {of[0]}: {count(runs[0])} runs{out[0]}</li>
        <li>second: {of[1]}: {count(runs[1])} runs{out[1]}</li>
      </ul>
      {both > 0 && <p className="note">{count(both)} runs are in both: make the two exclude one another.</p>}
      {Math.min(...runs) < FEW && <p className="note">With fewer than {FEW} runs the intervals are too narrow: take them as a hint.</p>}
      <Table name="Quantities" columns={[["quantity"], ["first", "n"], ["second", "n"], ["difference", "n"], ["90 % interval", "n"], ["in words", "wide"]]}
        rows={measured.map((each) => [
          each.name, show(each.first, each.unit), show(each.second, each.unit), <By each={each} />, interval(each), verdict(each),
        ])} />
      <h2>Where a mean run spends its time</h2>
      <p className="soft">
        What lies on the critical path adds up to the latency. Own time is time in which no work below it ran; work side by side adds up.
      </p>
      <Table name="Operations"
        columns={[["work", "wide"], ["times", "n"], ["own time", "n"], ["difference ", "n"], ["critical path", "n"], ["difference", "n"], ["90 % interval", "n"], ["less or more"]]}
        rows={operations.map(({ label, first: a, second: b, own, critical }) => [
          label, `${times(a.count)} → ${times(b.count)}`, `${show(a.own_s, "s")} → ${show(b.own_s, "s")}`, <By each={own} />,
          `${show(a.critical_s, "s")} → ${show(b.critical_s, "s")}`, <By each={critical} />, interval(critical),
          <Delta by={critical.difference} most={most} />,
        ])} />
      {more > 0 && <p className="soft">{count(more)} more kinds of work are left out.</p>}
    </section>
  );
}

const times = (n: number): string => String(Number(n.toPrecision(3)));

const show = (value: number, unit: string): string =>
  unit === "share" ? percent(value) : unit ? amount(value, unit) : String(Number(value.toPrecision(4)));

/** The difference; in colour only where its interval leaves no doubt which way it goes. */
function By({ each: { name, unit, difference, low, high } }: { each: Measured }): ReactNode {
  const sure = low !== null && high !== null && low * high > 0;
  const sign = difference > 0 ? "+" : "";
  if (!sure) return <span className="soft">{sign}{show(difference, unit)}</span>;
  if (unit === "share" || !unit) return <span className={name.startsWith("score") === difference > 0 ? "ok" : "error"}>{sign}{show(difference, unit)}</span>;
  return <Signed by={difference} unit={unit} />;
}

const interval = ({ unit, low, high }: Measured): string =>
  low === null || high === null ? "one run says nothing" : `${show(low, unit)} to ${show(high, unit)}`;
