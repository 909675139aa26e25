/** A few rows' bars. Drawn once: scrolling moves it, as it moves names. */

import { memo, useLayoutEffect, useRef, type ReactNode } from "react";

import { drawRows, ROW, type Join, type Scene } from "./draw";
import type { Lane } from "./lanes";

export const TILE = 8; // rows: two or three come into sight in a frame of fast scrolling
const JOINS = 100; // that begin or end in one tile: more cannot be told apart

/** A line and one that it continues, with their rows. */
export interface Pair {
  from: number;
  to: number;
  a: number;
  b: number;
}

/** Those that are drawn: the same in every tile that they cross. */
export function thinned(pairs: readonly Pair[]): Pair[] {
  const ends = new Map<number, number>();
  return pairs.filter(({ a, b }) => {
    const [one, other] = [Math.floor(a / TILE), Math.floor(b / TILE)];
    const most = Math.max(ends.get(one) ?? 0, ends.get(other) ?? 0);
    if (most >= JOINS) return false;
    ends.set(one, (ends.get(one) ?? 0) + 1).set(other, (ends.get(other) ?? 0) + 1);
    return true;
  });
}

export const Tile = memo(function Tile({ first, rows, scene, pairs, width, onClick }: {
  first: number; rows: readonly Lane[]; scene: Scene; pairs: readonly Pair[]; width: number;
  onClick: (row: number, place: number) => void;
}): ReactNode {
  const canvas = useRef<HTMLCanvasElement>(null);
  const last = Math.min(first + TILE, rows.length);
  useLayoutEffect(() => {
    if (!canvas.current) return;
    const crossing: Join[] = [];
    for (const { from, to, a, b } of pairs) {
      if (Math.max(a, b) < first || Math.min(a, b) >= last) continue;
      crossing.push({ from, to, fromRow: a - first, toRow: b - first });
    }
    drawRows(canvas.current, scene, rows.slice(first, last).map((row) => row.items), crossing);
  }, [first, last, rows, scene, pairs, width]);
  return (
    <canvas ref={canvas} aria-hidden="true" style={{ top: first * ROW, height: (last - first) * ROW }}
      onClick={(event) => {
        const area = event.currentTarget.getBoundingClientRect();
        onClick(first + Math.floor((event.clientY - area.top) / ROW), (event.clientX - area.left) / area.width);
      }} />
  );
});
