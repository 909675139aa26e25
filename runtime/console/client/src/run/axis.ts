/** Time as places from 0 to 1, with long stretches in which nothing happens drawn short. */

import type { Line } from "./rows";

export interface Gap {
  start: number;
  end: number;
}

export interface Axis {
  place: (ms: number) => number;
  time: (place: number) => number;
  gaps: (Gap & { place: number; width: number })[];
}

const EMPTY_SHARE = 0.05; // a stretch in which nothing at all is open is cut from this share of the axis
const WAITING_SHARE = 0.5; // one in which handlers are open but nothing begins or ends: only where it dwarfs the rest
const GAP_WIDTH = 0.03; // of the axis, for each

/**
 * Stretches worth cutting. Models and tools at work are never idle. A handler that is open may be computing, so its
 * quiet time is cut only where it takes more than half of the axis, as a wait for a person does.
 */
export function gaps(made: readonly Line[], total: number): Gap[] {
  const edges: { ms: number; open: number; busy: number }[] = [];
  for (const line of made) {
    const busy = line.work === "model" || line.work === "tool" ? 1 : 0;
    edges.push({ ms: line.start, open: 1, busy }, { ms: line.end, open: -1, busy: -busy });
  }
  edges.sort((a, b) => a.ms - b.ms);
  const empty: Gap[] = [];
  const quiet: Gap[] = [];
  let open = 0;
  let busy = 0;
  let from = 0;
  for (const edge of edges) {
    if (edge.ms > from && busy === 0) (open ? quiet : empty).push({ start: from, end: edge.ms });
    open += edge.open;
    busy += edge.busy;
    from = Math.max(from, edge.ms);
  }
  const cut = empty.filter((gap) => gap.end - gap.start > EMPTY_SHARE * total);
  let left = total - sum(cut);
  for (const gap of quiet.sort((a, b) => b.end - b.start - (a.end - a.start))) {
    if (gap.end - gap.start <= WAITING_SHARE * left) break;
    cut.push(gap);
    left -= gap.end - gap.start;
  }
  return left > 0 ? cut.sort((a, b) => a.start - b.start) : [];
}

/** The axis over `total` milliseconds with `cut` drawn short. */
export function axis(total: number, cut: readonly Gap[]): Axis {
  const width = cut.length ? Math.min(GAP_WIDTH, 0.3 / cut.length) : 0;
  const scale = (1 - width * cut.length) / Math.max(total - sum(cut), 1e-9);
  const knots: { ms: number; place: number }[] = [{ ms: 0, place: 0 }];
  const drawn: Axis["gaps"] = [];
  for (const gap of cut) {
    const before = knots[knots.length - 1]!;
    const place = before.place + (gap.start - before.ms) * scale;
    drawn.push({ ...gap, place, width });
    knots.push({ ms: gap.start, place }, { ms: gap.end, place: place + width });
  }
  knots.push({ ms: Math.max(total, knots[knots.length - 1]!.ms), place: 1 });
  return {
    gaps: drawn,
    place: (ms) => between(knots, ms, "ms", "place"),
    time: (place) => between(knots, place, "place", "ms"),
  };
}

/** Round times for marks on the part of the axis from `from` to `to` (places), about `wanted` of them. */
export function ticks({ place, time }: Axis, from: number, to: number, wanted: number): { ms: number; place: number }[] {
  const step = round(Math.max((time(to) - time(from)) / wanted, 1e-6));
  const marks: { ms: number; place: number }[] = [];
  for (let n = 0; n <= wanted; n++) {
    const ms = Math.round(time(from + ((to - from) * n) / wanted) / step) * step;
    const there = place(ms);
    if (there >= from - 1e-9 && there <= to + 1e-9 && marks[marks.length - 1]?.ms !== ms) marks.push({ ms, place: there });
  }
  return marks;
}

/** The next of 1, 2, 5, 10, 20, … */
function round(step: number): number {
  const ten = 10 ** Math.floor(Math.log10(step));
  return ten * [1, 2, 5, 10].find((times) => times * ten >= step * (1 - 1e-9))!;
}

type Key = "ms" | "place";

function between(knots: readonly Record<Key, number>[], value: number, from: Key, to: Key): number {
  let low = 0;
  let high = knots.length - 2;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (knots[middle]![from] <= value) low = middle;
    else high = middle - 1;
  }
  const a = knots[low]!;
  const b = knots[low + 1]!;
  const width = b[from] - a[from];
  const share = width > 0 ? (value - a[from]) / width : 0;
  return a[to] + Math.min(Math.max(share, 0), 1) * (b[to] - a[to]);
}

const sum = (cut: readonly Gap[]): number => cut.reduce((all, gap) => all + gap.end - gap.start, 0);
