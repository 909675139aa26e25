/** A run's rows as the waterfall keeps them: a tree in the order it is read, each row with its own begin and end. */

import type { Part, Row, Work } from "../types";

export interface Stretch {
  part: Part;
  start: number;
  end: number;
}

/** Milliseconds from the start of the run. `parent` and `last` are places in the list: children follow their parent. */
export interface Line {
  id: string;
  caller: string | null;
  parent: number;
  last: number;
  depth: number;
  label: string;
  work: Work;
  agent: string;
  start: number;
  end: number;
  finished: boolean;
  failed: boolean;
  notes: string;
  stretches: Stretch[];
  links: string[];
}

/** Finds each row's parent from the depths, and how far its descendants reach. */
export function lines(rows: readonly Row[], notes: (row: Row) => string): Line[] {
  const above: number[] = [];
  const made = rows.map((row, at): Line => {
    above.length = Math.min(row.depth, above.length);
    const parent = above[above.length - 1] ?? -1;
    above.push(at);
    const stretches = row.segments.map(({ part, start_ms, end_ms }) => ({ part, start: start_ms, end: end_ms }));
    const begins = stretches.map((s) => s.start);
    const ends = stretches.map((s) => s.end);
    return {
      id: row.id, caller: row.caller, parent, last: at, depth: row.depth, label: row.label, work: row.work,
      agent: row.agent, start: Math.min(row.start_ms, ...begins),
      end: Math.max(row.start_ms + (row.duration_ms ?? 0), ...ends),
      finished: row.duration_ms !== null, failed: row.error !== null, notes: notes(row), stretches, links: row.links,
    };
  });
  return reach(made);
}

/** Sets `last` of every line: where its descendants end. */
export function reach(made: Line[]): Line[] {
  for (let at = made.length - 1; at >= 0; at--) {
    const line = made[at]!;
    const parent = made[line.parent];
    if (parent) parent.last = Math.max(parent.last, line.last);
  }
  return made;
}

/** Which lines are shown when the descendants of `closed` are not. */
export function open(made: readonly Line[], closed: ReadonlySet<string>): number[] {
  const shown: number[] = [];
  for (let at = 0; at < made.length; at++) {
    shown.push(at);
    const line = made[at]!;
    if (closed.size && closed.has(line.id)) at = line.last;
  }
  return shown;
}

/** Places of the lines that have `wanted` in what is written on them. */
export function find(made: readonly Line[], wanted: string): number[] {
  const needle = wanted.trim().toLowerCase();
  if (!needle) return [];
  const found: number[] = [];
  made.forEach((line, at) => {
    if (`${line.label} ${line.agent} ${line.notes}`.toLowerCase().includes(needle)) found.push(at);
  });
  return found;
}
