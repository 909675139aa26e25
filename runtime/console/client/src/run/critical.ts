/** What the run's end waited for. */

import type { Line } from "./rows";

/** A stretch of a line that the end of the run could not have come without. */
export interface Critical {
  at: number;
  start: number;
  end: number;
}

/**
 * Walks back from the end: of the work that ended before the moment looked at, what ended last is what was waited for;
 * between, it was whatever led to it. All lines without a parent stand side by side, and a line lasts as long as what
 * it led to, so that a submit reaches to the end of its work. The server's `critical.py` does the same with spans.
 */
export function critical(made: readonly Line[]): Critical[] {
  const children = new Map<number, number[]>();
  const until = made.map((line) => line.end);
  for (let at = made.length - 1; at >= 0; at--) { // children follow their parent
    const { parent } = made[at]!;
    if (parent >= 0) until[parent] = Math.max(until[parent]!, until[at]!);
  }
  made.forEach(({ parent }, at) => {
    const mine = children.get(parent);
    if (mine) mine.push(at);
    else children.set(parent, [at]);
  });
  for (const mine of children.values()) mine.sort((a, b) => until[b]! - until[a]! || made[b]!.start - made[a]!.start);
  const [first, last] = made.reduce(([from, to], { start }, at) => [Math.min(from, start), Math.max(to, until[at]!)], [Infinity, 0]);
  const path: Critical[] = [];
  const stack: Critical[] = made.length ? [{ at: -1, start: first!, end: last! }] : [];
  while (stack.length) {
    const { at, start, end } = stack.pop()!;
    let now = end;
    const own = (from: number): void => { if (at >= 0 && now > from) path.push({ at, start: from, end: now }); };
    for (const child of children.get(at) ?? []) {
      const began = Math.max(made[child]!.start, start); // clocks of two machines may let a child begin before its parent
      const ended = Math.min(until[child]!, end);
      if (ended > now || began >= ended) continue;
      own(ended);
      now = began;
      stack.push({ at: child, start: began, end: ended });
    }
    own(start);
  }
  return path;
}

/** Milliseconds of the path on each line. */
export function share(path: readonly Critical[]): Map<number, number> {
  const sum = new Map<number, number>();
  for (const { at, start, end } of path) sum.set(at, (sum.get(at) ?? 0) + end - start);
  return sum;
}
