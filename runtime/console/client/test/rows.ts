/** Rows as the server sends them, in a few words. */

import { notes } from "../src/run/load";
import { lines, type Line } from "../src/run/rows";
import type { Row, Work } from "../src/types";

/** [depth, label, start, end, work?, agent?] of each row. */
export type Short = [depth: number, label: string, start: number, end: number, work?: Work, agent?: string];

export function rows(...all: Short[]): Row[] {
  return all.map(([depth, label, start, end, work = "handler", agent = "a"], n) => ({
    id: `${"0".repeat(32)}.${String(n).padStart(16, "0")}`, caller: null, depth, label, work, agent, model: "",
    start_ms: start, duration_ms: end - start, queue_ms: 0, prefill_ms: 0, decode_ms: 0, input_tokens: 0,
    cached_tokens: 0, output_tokens: 0, attempt: 1, error: null, links: [],
    segments: [{ part: "service", start_ms: start, end_ms: end }],
  }));
}

export const made = (...all: Short[]): Line[] => lines(rows(...all), notes);
