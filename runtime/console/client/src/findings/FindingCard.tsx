/** One finding: evidence, prediction, what was measured, and the next step of its remedy. */

import { useState, type ReactNode } from "react";

import { StatusBadge } from "../parts/Parts";
import { link } from "../route";
import type { Finding } from "../types";
import { amount, count, percent } from "../words";
import { proposed, write } from "../whatif/question";
import { bar, quantities, type Quantity } from "./savings";

const SPANS_NAMED = 60; // an address has to stay one

type Perform = (name: string, body: Record<string, unknown>) => Promise<void>;

/** Which steps a state allows: [action, its words, what else the action takes]. */
function steps({ state, remedy }: Finding): [string, string, Record<string, unknown>][] {
  const automatic = remedy.proposal !== null;
  const apply = (level: string): Record<string, unknown> => ({ level });
  const shadow: [string, string, Record<string, unknown>] = ["finding.apply", "shadow", apply("shadow")];
  const canary: [string, string, Record<string, unknown>] = ["finding.apply", "canary", apply("canary")];
  const on: [string, string, Record<string, unknown>] = ["finding.apply", "on", apply("on")];
  const back: [string, string, Record<string, unknown>] = ["finding.rollback", "roll back", {}];
  const dismiss: [string, string, Record<string, unknown>] = ["finding.dismiss", "dismiss", { reason: "" }];
  if (state === "shadow") return [canary, on, back, dismiss];
  if (state === "canary") return [on, back, dismiss];
  if (state === "applied" || state === "verified") return [back];
  if (state === "open" || state === "refuted") return automatic ? [shadow, canary, on, dismiss] : [dismiss];
  return state === "candidate" ? [dismiss] : [];
}

export function FindingCard({ finding: f, policy, actions, perform }: {
  finding: Finding; policy: string | null; actions: ReadonlySet<string>; perform: Perform;
}): ReactNode {
  const [busy, setBusy] = useState(false);
  const open = steps(f).filter(([name]) => actions.has(name));
  const run = (name: string, more: Record<string, unknown>): void => {
    const sure = f.quality_risk !== "none" && name === "finding.apply" && more.level !== "shadow";
    if (sure && !confirm(`This remedy may change what runs result in (${f.quality_risk}). Apply it all the same?`)) return;
    setBusy(true);
    void perform(name, { finding: f.id, ...more, ...(sure ? { sure } : {}) }).finally(() => setBusy(false));
  };
  const predicted = f.state === "candidate" ? [] : quantities(f.saving);
  const measured = quantities(f.realised?.saving ?? null);
  const spans = f.evidence_spans.slice(0, SPANS_NAMED).join(",");
  const workflow = workflowOf(f.cohort);
  return (
    <article className="finding" aria-labelledby={`finding-${f.id}`}>
      <h2 id={`finding-${f.id}`}><span className="soft">{f.pattern.toUpperCase()}</span> {f.title}</h2>
      <p>
        <StatusBadge name={f.state} /> seen in {count(f.support)} {f.support_unit} ({count(f.required)} needed)
        <span className="soft">
          {" "}· about {f.subject} · cohort {f.cohort} · grade {f.grade}
          {f.prevalence === null ? "" : ` · in ${percent(f.prevalence)} of its runs`}
          {f.quality_risk === "none" ? "" : ` · results may change: ${f.quality_risk}`}
        </span>
      </p>
      {f.note && <p className="soft">{f.note}</p>}
      {predicted.length > 0 && <Bars name="would save" all={predicted} beside={measured} />}
      {measured.length > 0 && f.realised && (
        <>
          <Bars name="measured" all={measured} beside={predicted} />
          <p className="soft">
            in {count(f.realised.runs[0])} runs with and {count(f.realised.runs[1])} without it
            {judged(f.realised.prediction_error, f.prevalence)}
          </p>
        </>
      )}
      <p>{f.remedy.text}</p>
      {f.assumptions.length ? <p className="soft">assumes: {f.assumptions.join(" ")}</p> : null}
      {f.evidence_traces.length ? (
        <p>
          evidence:{" "}
          {f.evidence_traces.slice(0, 5).map((trace) => (
            <span key={trace} className="mono"><a href={link("traces", trace, { evidence: spans })}>{trace.slice(0, 12)}</a> </span>
          ))}
          · <a href={link("runs", null, { finding: f.id })}>its runs</a>
          {" "}· <a href={link("compare", null, { of: "cohorts", "a.workflow": workflow, "b.workflow": workflow, "b.finding": f.id })}>compare them with all</a>
        </p>
      ) : null}
      <Questions of={f} policy={policy} />
      {open.length ? (
        <p className="actions">
          {open.map(([name, words, more]) => (
            <button key={words} type="button" disabled={busy} aria-label={`${words}: ${f.title}`} onClick={() => run(name, more)}>
              {words}
            </button>
          ))}
        </p>
      ) : null}
    </article>
  );
}

/** The handler by which the runs of a cohort come in; what follows it in a cohort's name tells apart how they go on. */
const workflowOf = (cohort: string): string => cohort.replace(/#[0-9a-f]*$/, "");

/** How good the prediction was. It was about runs that show the pattern; what is measured is of all runs. */
function judged(error: number | null, prevalence: number | null): string {
  if (error === null) return "";
  const off = error === 0 ? "right" : `too ${error > 0 ? "hopeful" : "cautious"} by ${percent(Math.abs(error))}`;
  const part = prevalence !== null && prevalence < 0.995 ? `, spread over all runs, of which it concerns ${percent(prevalence)},` : "";
  return `; the prediction${part} was ${off}`;
}

/** The same remedy with other numbers or on other runs, and both arms of its trial. */
function Questions({ of: { cohort, remedy }, policy }: { of: Finding; policy: string | null }): ReactNode {
  const change = proposed(remedy.proposal);
  const workflow = workflowOf(cohort);
  const arm = (name: string): string | null => (policy ? `${policy}=${name}` : null);
  const arms = { of: "cohorts", "a.workflow": workflow, "a.arm": arm("control"), "b.workflow": workflow, "b.arm": arm("treated") };
  return change || policy ? (
    <p>
      {change && <a href={link("whatif", null, { workflow, arm: arm("control"), with: write([change]) })}>what if</a>}{" "}
      {policy && <a href={link("compare", null, arms)}>compare the arms of its trial</a>}
    </p>
  ) : null;
}

/** Each quantity with its 90 % interval as a bar from nothing, on one scale with the same quantity of `beside`. */
function Bars({ name, all, beside }: { name: string; all: Quantity[]; beside: Quantity[] }): ReactNode {
  return (
    <dl className="savings">
      {all.map(({ name: of, unit, estimate }) => {
        const at = bar(estimate, [...all, ...beside].filter((each) => each.name === of).map((each) => each.estimate));
        return (
          <div key={of}>
            <dt>{name}, {of}</dt>
            <dd>
              <svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
                <rect className="interval" x={at.low} y="2" width={Math.max(at.high - at.low, 0.5)} height="6" />
                <rect className="zero" x={Math.min(at.zero, 99.5)} y="0" width="0.5" height="10" />
                <rect className="point" x={Math.min(at.point, 99)} y="0" width="1" height="10" />
              </svg>
              <b>{amount(estimate.point, unit)}</b>{" "}
              <span className="soft">{amount(estimate.low, unit)} to {amount(estimate.high, unit)}</span>
            </dd>
          </div>
        );
      })}
    </dl>
  );
}
