/** Fields that choose runs; every choice is in the address. */

import type { ReactNode } from "react";

import { Select } from "../parts/Parts";
import { refine } from "../route";
import type { Cohort } from "./cohort";
import type { Names } from "./names";

const STATES = ["", "ok", "error", "cancelled"].map((s) => [s, s || "any end"] as const);

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
