/** Policies that would be in force: what each does, to what, and the one thing more that some of them take. */

import type { ReactNode } from "react";

import { Select } from "../parts/Parts";
import { POLICIES, put, type Change } from "./question";

export interface Inside {
  runs: number;
  agents: string[];
  models: string[];
  tools: string[];
  /** Handlers whose code declares that steps of theirs need nothing of one another. */
  declares: string[];
  slots: Record<string, number>;
}

/** What a policy of this kind can be about in these runs, as targets. */
function targets(kind: string, inside: Inside): string[] {
  const about = POLICIES.find((policy) => policy.kind === kind)?.about ?? [];
  const names = { agent: inside.agents, model: inside.models, tool: inside.tools, declared: inside.declares };
  return about.flatMap((each) => names[each].map((name) => `${each === "declared" ? "agent" : each}:${name}`));
}

export function Policies({ changes, inside, onChange }: {
  changes: readonly Change[]; inside: Inside; onChange: (changes: Change[]) => void;
}): ReactNode {
  const rows = changes.filter(({ kind }) => POLICIES.some((policy) => policy.kind === kind));
  const offered = POLICIES.filter(({ kind }) => targets(kind, inside).length);
  const replace = (old: Change, now: Change): void => onChange(changes.map((each) => (each === old ? now : each)));
  const add = (kind: string): void => {
    const policy = POLICIES.find((each) => each.kind === kind)!;
    const free = targets(kind, inside).find((target) => !rows.some((row) => row.kind === kind && row.target === target));
    const first = policy.takes === "model" ? inside.models.find((model) => `model:${model}` !== free) ?? "" : policy.first;
    if (free) onChange(put(changes, policy.kind, free, first));
  };
  return (
    <div className="policies" role="group" aria-label="policies">
      {rows.map((row) => {
        const policy = POLICIES.find(({ kind }) => kind === row.kind)!;
        const known = targets(row.kind, inside);
        const choices = known.includes(row.target) ? known : [row.target, ...known];
        return (
          <p key={`${row.kind} ${row.target}`}>
            <span>{policy.words}</span>
            <Select label={`${policy.words}: what`} value={row.target} choices={choices.map((each) => [each, each.replace(":", " ")])}
              onChange={(target) => replace(row, { ...row, target })} />
            {policy.takes === "s" && (
              <label>{row.kind === "cache" ? "for" : "after"}{" "}
                <input type="number" min="0.001" step="any" value={row.value} aria-label={`${policy.words} ${row.target}: seconds`}
                  onChange={(event) => replace(row, { ...row, value: event.target.value })} /> s
              </label>
            )}
            {policy.takes === "model" && (
              <input value={row.value} placeholder="model" aria-label={`${policy.words} ${row.target}: which`}
                onChange={(event) => replace(row, { ...row, value: event.target.value.trim() })} />
            )}
            <button type="button" aria-label={`without: ${policy.words} ${row.target}`}
              onClick={() => onChange(changes.filter((each) => each !== row))}>✕</button>
          </p>
        );
      })}
      <Select label="add a policy" value="" onChange={add}
        choices={[["", "add a policy…"], ...offered.map(({ kind, words }) => [kind, `${words}…`] as const)]} />
    </div>
  );
}
