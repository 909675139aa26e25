/** What would be different, as the address has it and in the words of `antiphon whatif`. */

import type { Finding } from "../types";

export type Kind =
  | "pool" | "speed" | "cache" | "single_flight" | "hedge" | "route" | "parallelise" | "least_attained" | "leave_out" | "drop";

export interface Change {
  kind: Kind;
  /** `agent:critic`, `agent:critic.review`, `model:m` or `tool:search`. */
  target: string;
  /** Slots, times as fast, seconds, or the other model; empty where nothing more is to be said. */
  value: string;
}

/** What a change is called, what it can be about, and what else it takes. */
export const POLICIES: readonly { kind: Kind; words: string; about: readonly ("agent" | "model" | "tool" | "declared")[]; takes: "s" | "model" | null; first: string }[] = [
  { kind: "cache", words: "cache results of", about: ["tool", "model", "agent"], takes: "s", first: "60" },
  { kind: "single_flight", words: "share work under way of", about: ["tool", "model", "agent"], takes: null, first: "" },
  { kind: "hedge", words: "second attempt at", about: ["tool", "model", "agent"], takes: "s", first: "1" },
  { kind: "route", words: "another model for", about: ["model"], takes: "model", first: "" },
  { kind: "parallelise", words: "run declared steps together in", about: ["declared"], takes: null, first: "" },
  { kind: "least_attained", words: "who had least goes first at", about: ["model"], takes: null, first: "" },
  { kind: "leave_out", words: "never ask", about: ["tool", "model", "agent"], takes: null, first: "" },
  { kind: "drop", words: "wait no more for", about: ["agent", "tool"], takes: null, first: "" },
];

export const SPEEDS = [0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4];
const KINDS = new Set<string>(["pool", "speed", ...POLICIES.map(({ kind }) => kind)]);

/** `write`'s inverse; what is no change is left out. */
export function read(text: string): Change[] {
  return text.split(";").flatMap((each) => {
    const [kind = "", target = "", value = ""] = each.split(" ").map(plain);
    return KINDS.has(kind) && target ? [{ kind: kind as Kind, target, value }] : [];
  });
}

function plain(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part; // a stray % that somebody typed
  }
}

export const write = (changes: readonly Change[]): string =>
  changes.map(({ kind, target, value }) => [kind, target, value].map(encodeURIComponent).join(" ").trim()).join(";");

/** With `change` in the place of what was there of its kind and target; null: without. */
export function put(changes: readonly Change[], kind: Kind, target: string, value: string | null): Change[] {
  const others = changes.filter((each) => each.kind !== kind || each.target !== target);
  return value === null ? others : [...others, { kind, target, value }];
}

/** As the request has it. Twice as fast is half as long: durations are what the simulator scales. */
export function question(changes: readonly Change[]): Record<string, string[]> {
  const asked: Record<string, string[]> = {};
  const add = (name: string, word: string): void => { (asked[name] ??= []).push(word); };
  for (const { kind, target, value } of changes) {
    if (kind === "pool") add("pool", `${target}=${value}`);
    else if (kind === "speed") add("scale", `${target}=${Number((1 / Number(value)).toPrecision(4))}`);
    else if (kind === "cache") add("dedupe", `${target}=${value}s`);
    else if (kind === "hedge") add("hedge", `${target}=${value}s`);
    else if (kind === "route") add("swap", `${target}=${value}`);
    else if (kind === "leave_out") add("remove", target);
    else add(kind, target);
  }
  return asked;
}

/** A finding's remedy as a change; null where replay cannot tell what it would do. */
export function proposed(proposal: Finding["remedy"]["proposal"]): Change | null {
  if (!proposal) return null;
  const { action, agent } = proposal;
  const [, what = "", name = ""] = /^(tool|model|ask|call) (.+)$/.exec(proposal.target) ?? [];
  const target = what === "model" ? `model:${agent ?? name}` : what === "tool" ? `tool:${name}` : `agent:${name || proposal.target}`;
  switch (action.kind) {
    case "cache": return { kind: "cache", target, value: String(action.ttl_s) };
    case "hedge": return { kind: "hedge", target, value: String(action.delay_s) };
    case "route": return { kind: "route", target, value: String(action.model) };
    case "concurrency": return { kind: "pool", target, value: String(action.slots) };
    case "single_flight": case "parallelise": return { kind: action.kind, target, value: "" };
    case "priority": return action.order === "least_attained" ? { kind: "least_attained", target, value: "" } : null;
    default: return null;
  }
}

/** How many values fall into each of `bins` classes of equal width from `low` to `high`. */
export function histogram(values: readonly number[], low: number, high: number, bins: number): number[] {
  const counts = new Array<number>(bins).fill(0);
  const width = (high - low) / bins || 1;
  for (const value of values) counts[Math.min(Math.max(Math.floor((value - low) / width), 0), bins - 1)]! += 1;
  return counts;
}
