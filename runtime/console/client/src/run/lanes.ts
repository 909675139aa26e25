/** Rows packed into lanes: one agent's work together, what overlaps in time below one another. */

import type { Line } from "./rows";

export interface Lane {
  name: string;
  /** Places of its lines, in order of start; they do not overlap. */
  items: number[];
}

/** First fit by start: as many lanes of an agent as it had things to do at a time, which is the fewest possible. */
export function lanes(made: readonly Line[]): Lane[] {
  const order = made.map((_, at) => at).sort((a, b) => made[a]!.start - made[b]!.start);
  const agents = new Map<string, { lane: Lane; until: number }[]>();
  for (const at of order) {
    const line = made[at]!;
    const name = line.agent || line.work;
    const mine = agents.get(name) ?? [];
    agents.set(name, mine);
    const free = mine.find((each) => each.until <= line.start);
    if (free) {
      free.lane.items.push(at);
      free.until = line.end;
    } else {
      mine.push({ lane: { name, items: [at] }, until: line.end });
    }
  }
  return [...agents.values()].flatMap((mine) => mine.map(({ lane }) => lane));
}
