/** What the run's end waited for. */

import type { Line } from "./rows";

/** A stretch of a line that the end of the run could not have come without. */
export interface Critical {
  at: number;
  start: number;
  end: number;
}

/**
 * Walks back from the end of the root that ends last: of the children that ended before the moment looked at, the last
 * one is what was waited for; between children it was the line itself. (Jaeger's rule, for trees of spans.)
 */
export function critical(made: readonly Line[]): Critical[] {
  const children = new Map<number, number[]>();
  made.forEach((line, at) => {
    const mine = children.get(line.parent);
    if (mine) mine.push(at);
    else children.set(line.parent, [at]);
  });
  for (const mine of children.values()) mine.sort((a, b) => made[a]!.end - made[b]!.end);
  const root = children.get(-1)?.at(-1);
  if (root === undefined) return [];
  const path: Critical[] = [];
  const stack: { at: number; from: number; until: number }[] = [{ at: root, from: made[root]!.start, until: made[root]!.end }];
  while (stack.length) {
    const { at, from, until } = stack.pop()!;
    let now = until;
    for (const child of (children.get(at) ?? []).reverse()) {
      const line = made[child]!;
      if (line.end > now || line.end <= line.start || line.end <= from) continue;
      if (line.end < now) path.push({ at, start: line.end, end: now });
      now = Math.max(line.start, from); // clocks of two machines may let a child begin before its parent
      stack.push({ at: child, from: now, until: line.end });
    }
    if (now > from) path.push({ at, start: from, end: now });
  }
  return path;
}

/** Milliseconds of the path on each line. */
export function share(path: readonly Critical[]): Map<number, number> {
  const sum = new Map<number, number>();
  for (const { at, start, end } of path) sum.set(at, (sum.get(at) ?? 0) + end - start);
  return sum;
}
