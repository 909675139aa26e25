/** What a finding promises, and what came of it: pure, for lists and pictures. */

import type { Estimate, Finding, Saving } from "../types";

export interface Quantity {
  name: string;
  unit: string;
  estimate: Estimate;
}

const QUANTITIES: [keyof Saving, string, string][] = [
  ["latency_s", "latency a run", "s"], ["latency_p95_s", "latency, p95", "s"], ["model_s", "model time a run", "s"],
  ["tokens", "tokens a run", "tokens"], ["usd", "cost a run", "usd"],
];

/** The quantities that change; a prediction of nothing is not shown. */
export function quantities(saving: Saving | null): Quantity[] {
  if (!saving) return [];
  return QUANTITIES.flatMap(([key, name, unit]) => {
    const estimate = saving[key];
    return estimate && (estimate.point || estimate.low || estimate.high) ? [{ name, unit, estimate }] : [];
  });
}

const STATES = ["verified", "canary", "shadow", "applied", "open", "candidate", "refuted", "dismissed", "gone"];

/** At work first, then open ones; within a state what was measured, or else predicted, to save most. */
export function ranked(findings: readonly Finding[]): Finding[] {
  const rank = (f: Finding): number => STATES.indexOf(f.state);
  return [...findings].sort((a, b) => rank(a) - rank(b) || worth(b) - worth(a) || a.id.localeCompare(b.id));
}

/** Seconds that it saves a run; what saves only tokens comes after, by tokens. */
export function worth({ saving, realised }: Finding): number {
  const counted = realised?.saving ?? saving;
  return (counted?.latency_s?.point ?? 0) + (counted?.model_s?.point ?? 0) + (counted?.tokens?.point ?? 0) * 1e-6;
}

/** Where an interval lies, in percent of a scale that has nothing and all of `beside` on it. */
export function bar(estimate: Estimate, beside: readonly Estimate[] = [estimate]): { zero: number; low: number; high: number; point: number } {
  const from = Math.min(0, ...beside.map((each) => each.low));
  const width = Math.max(0, ...beside.map((each) => Math.max(each.high, each.point))) - from || 1;
  const at = (value: number): number => (100 * (value - from)) / width;
  return { zero: at(0), low: at(estimate.low), high: at(estimate.high), point: at(estimate.point) };
}
