/** Fields that choose runs; every choice is in the address. */

import { useMemo, type ReactNode } from "react";

import { useData } from "../api";
import { Select } from "../parts/Parts";
import { refine } from "../route";
import type { RunPage } from "../types";
import type { Cohort } from "./cohort";

export interface Names {
  workflows: string[];
  agents: string[];
  models: string[];
  /** `POLICY=treated` and `POLICY=control` of stored policies. */
  arms: string[];
}

const STATES = ["", "ok", "error", "cancelled"].map((s) => [s, s || "any end"] as const);
const ARMS = ["treated", "control"];

/** What the newest runs have in them, to choose from. */
export function useNames(): Names {
  const runs = useData<RunPage>("/api/runs?limit=200").data;
  const policies = useData<{ policies: { id: string }[] }>("/api/policies").data;
  return useMemo(() => ({
    workflows: distinct(runs?.runs.map((run) => run.title)),
    agents: distinct(runs?.runs.flatMap((run) => run.agents)),
    models: distinct(runs?.runs.flatMap((run) => run.models)),
    arms: policies?.policies.flatMap(({ id }) => ARMS.map((arm) => `${id}=${arm}`)) ?? [],
  }), [runs, policies]);
}

export function CohortForm({ name, of, names, prefix = "" }: {
  name: string; of: Cohort; names: Names; prefix?: string;
}): ReactNode {
  const put = (field: string, value: string): void => refine({ [prefix + field]: value || null });
  const among = (field: keyof Cohort, hint: string, from: string[]): ReactNode => {
    const now = of[field] ?? "";
    const choices = now && !from.includes(now) ? [now, ...from] : from; // an older run's, from a link
    return (
      <Select label={`${name}: ${field}`} value={now} onChange={(value) => put(field, value)}
        choices={[["", hint], ...choices.map((each) => [each, each] as const)]} />
    );
  };
  const time = (field: "since" | "until", words: string): ReactNode => (
    <label className="time">{words}
      <input type="datetime-local" step="1" aria-label={`${name}: ${words}`} value={of[field] ?? ""}
        onChange={(event) => put(field, event.target.value)} />
    </label>
  );
  return (
    <div className="filters" role="group" aria-label={name}>
      {among("workflow", "any workflow", names.workflows)}
      {among("agent", "any agent", names.agents)}
      {among("model", "any model", names.models)}
      <Select label={`${name}: status`} value={of.status ?? ""} choices={STATES} onChange={(value) => put("status", value)} />
      {(names.arms.length > 0 || of.arm) && among("arm", "any arm", names.arms)}
      {time("since", "begun since")}
      {time("until", "and before")}
      {of.finding && (
        <button type="button" onClick={() => put("finding", "")}>evidence of {of.finding.slice(0, 8)} ✕</button>
      )}
    </div>
  );
}

const distinct = (values: string[] | undefined): string[] => [...new Set(values)].sort();
