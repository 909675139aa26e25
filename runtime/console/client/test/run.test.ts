import { describe, expect, test } from "vitest";

import { axis, gaps, ticks } from "../src/run/axis";
import { critical, share } from "../src/run/critical";
import { lanes } from "../src/run/lanes";
import { find, open } from "../src/run/rows";
import { panned, zoomed } from "../src/run/zoom";
import cases from "./critical.json";
import { made, type Short } from "./rows";

/** Spans as [id, parent, start, end], 0 where the end was not seen; the server's test has the same. */
const CASES = cases as unknown as { what: string; spans: [number, number | null, number, number][]; path: number[] }[];

const RUN: Short[] = [
  [0, "plan", 0, 100], [1, "search", 10, 30, "tool"], [1, "write", 30, 80], [2, "chat m", 40, 70, "model"], [1, "note", 40, 60],
];

describe("rows", () => {
  test("parents follow from depths, and each line knows where its descendants end", () => {
    expect(made(...RUN).map(({ parent, last }) => [parent, last])).toEqual([[-1, 4], [0, 1], [0, 3], [2, 3], [0, 4]]);
  });
  test("what is below a folded line is not shown", () => {
    const all = made(...RUN);
    expect(open(all, new Set([all[2]!.id]))).toEqual([0, 1, 2, 4]);
    expect(open(all, new Set([all[0]!.id]))).toEqual([0]);
    expect(open(all, new Set())).toHaveLength(5);
  });
  test("find looks at names without regard to case; nothing is found for nothing", () => {
    expect(find(made(...RUN), "CHAT")).toEqual([3]);
    expect(find(made(...RUN), "  ")).toEqual([]);
  });
});

describe("critical path", () => {
  test("it is what the end waited for, piece by piece", () => {
    const on = critical(made(...RUN)).map(({ at, start, end }) => [at, start, end]).sort((a, b) => a[1]! - b[1]!);
    expect(on).toEqual([[0, 0, 10], [1, 10, 30], [2, 30, 40], [3, 40, 70], [2, 70, 80], [0, 80, 100]]);
  });
  test("its pieces add up to the latency, whatever the tree", () => {
    for (let seed = 1; seed <= 200; seed++) {
      const all = made(...tree(seed));
      const sum = critical(all).reduce((total, part) => total + part.end - part.start, 0);
      expect(sum).toBeCloseTo(Math.max(...all.map((line) => line.end)) - all[0]!.start, 6);
    }
  });
  test("a child that outlives its parent is what the end waited for", () => {
    expect([...share(critical(made([0, "a", 0, 10], [1, "late", 5, 90])))]).toEqual([[0, 5], [1, 85]]);
  });
  test.each(CASES)("as the server has it: $what", ({ spans, path }) => {
    const whole = Math.max(...spans.map(([, , start, end]) => Math.max(start, end)));
    const depths = new Map<number | null, number>([[null, -1]]);
    const all = made(...spans.map(([id, parent, start, end]): Short => {
      depths.set(id, depths.get(parent)! + 1);
      return [depths.get(id)!, String(id), start, end || whole];
    }));
    expect([...share(critical(all)).keys()].map((at) => Number(all[at]!.label)).sort()).toEqual(path);
  });
  test("no rows, no path", () => expect(critical([])).toEqual([]));
});

describe("lanes", () => {
  test("what overlaps stands below one another, and as few lanes as possible are used", () => {
    const all = made([0, "a", 0, 10, "handler", "x"], [0, "b", 5, 15, "handler", "x"], [0, "c", 10, 20, "handler", "x"], [0, "d", 0, 5, "handler", "y"]);
    expect(lanes(all)).toEqual([{ name: "x", items: [0, 2] }, { name: "x", items: [1] }, { name: "y", items: [3] }]);
  });
  test("every line is in exactly one lane, and no two of a lane overlap", () => {
    for (let seed = 1; seed <= 50; seed++) {
      const all = made(...tree(seed));
      const packed = lanes(all);
      expect(packed.flatMap((lane) => lane.items).sort((a, b) => a - b)).toEqual(all.map((_, at) => at));
      for (const { items } of packed) {
        items.slice(1).forEach((at, n) => expect(all[at]!.start).toBeGreaterThanOrEqual(all[items[n]!]!.end));
      }
    }
  });
});

describe("time axis", () => {
  test("a stretch in which nothing is open is cut; one in which a model works never is", () => {
    expect(gaps(made([0, "a", 0, 10], [0, "b", 90, 100]), 100)).toEqual([{ start: 10, end: 90 }]);
    expect(gaps(made([0, "a", 0, 100], [1, "chat m", 10, 90, "model"]), 100)).toEqual([]);
  });
  test("a handler's own time is cut only where it dwarfs the rest", () => {
    expect(gaps(made([0, "ask a person", 0, 1000], [1, "a", 0, 10], [1, "b", 990, 1000]), 1000)).toEqual([{ start: 10, end: 990 }]);
    expect(gaps(made([0, "compute", 0, 100], [1, "a", 0, 30], [1, "b", 70, 100]), 100)).toEqual([]);
  });
  test("places and times are each other's inverse, in and outside of gaps", () => {
    const scale = axis(1000, [{ start: 100, end: 900 }]);
    for (const ms of [0, 50, 100, 500, 900, 950, 1000]) expect(scale.time(scale.place(ms))).toBeCloseTo(ms, 6);
    expect(scale.place(0)).toBe(0);
    expect(scale.place(1000)).toBe(1);
    expect(scale.place(900) - scale.place(100)).toBeCloseTo(0.03, 6);
  });
  test("many gaps leave room for what is between them", () => {
    const cut = Array.from({ length: 40 }, (_, n) => ({ start: n * 10 + 1, end: n * 10 + 9 }));
    const scale = axis(400, cut);
    expect(scale.gaps.reduce((sum, gap) => sum + gap.width, 0)).toBeLessThanOrEqual(0.3 + 1e-9);
    expect(scale.place(400)).toBe(1);
  });
  test("marks are round, in order and in sight", () => {
    const marks = ticks(axis(1234, []), 0, 1, 6);
    expect(marks.map(({ ms }) => ms)).toEqual([0, 500, 1000]);
    for (const { place } of marks) expect(place).toBeLessThanOrEqual(1);
  });
  test("zoom keeps the time at the focus, and nothing leaves the axis", () => {
    const view = zoomed({ from: 0, to: 1 }, 0.5, 0.25);
    expect(view.from + (view.to - view.from) * 0.25).toBeCloseTo(0.25, 9);
    expect(zoomed(view, 100, 0.5)).toEqual({ from: 0, to: 1 });
    expect(panned({ from: 0.2, to: 0.4 }, -1)).toEqual({ from: 0, to: 0.2 });
  });
});

/** A random tree: a root, then rows that begin within it, in order. Seeded, so that a failure can be seen again. */
function tree(seed: number): Short[] {
  let state = seed;
  const random = (): number => (state = (state * 48271) % 2147483647) / 2147483647;
  const all: Short[] = [[0, "root", 0, 100]];
  let depth = 1;
  for (let n = 0; n < 20; n++) {
    const start = random() * 90;
    all.push([depth, `w${n}`, start, start + random() * (110 - start)]);
    depth = 1 + Math.floor(random() * (depth + 1));
  }
  return all;
}
