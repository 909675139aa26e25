/** Bars of lines and the times behind them, on canvases. */

import type { Part } from "../types";
import { span } from "../words";
import { ticks, type Axis } from "./axis";
import type { Critical } from "./critical";
import type { Palette } from "./palette";
import type { Line } from "./rows";

export const ROW = 24; // pixels
const THIN = 3; // pixels: what is narrower has one colour, for nobody sees its parts and a lane has hundreds

/** The part of the axis in sight. */
export interface Span {
  axis: Axis;
  from: number;
  to: number;
}

/** What a run's bars are drawn from. */
export interface Scene extends Span {
  lines: readonly Line[];
  selected: number;
  marked: ReadonlySet<number>;
  path: ReadonlyMap<number, readonly Critical[]>;
  palette: Palette;
  hatch: CanvasPattern | string;
}

/** A line and one that it continues, with the rows that they are in, counted from the first that is drawn. */
export interface Join {
  from: number;
  to: number;
  fromRow: number;
  toRow: number;
}

const THICK: Record<Part, [top: number, height: number]> = {
  call: [10, 4], queue: [6, 12], service: [6, 12], prefill: [6, 12], decode: [6, 12],
};

/** Some rows, each a list of places of lines, and the joins that cross them. */
export function drawRows(canvas: HTMLCanvasElement, scene: Scene, rows: readonly (readonly number[])[], joins: readonly Join[]): void {
  const { pen, width } = cleared(canvas);
  if (!pen) return;
  const x = (ms: number): number => ((scene.axis.place(ms) - scene.from) / (scene.to - scene.from)) * width;
  rows.forEach((items, row) => {
    let drawn = -1; // the last pixel drawn in this row: what is narrower than a pixel is drawn once
    for (const at of items) {
      const line = scene.lines[at]!;
      const right = x(line.end);
      if (right < 0 || (right <= drawn && at !== scene.selected)) continue;
      const left = x(line.start);
      if (left > width) break;
      bar(pen, scene, at, row * ROW, left, right, x);
      drawn = Math.floor(Math.max(right, left + 1));
    }
  });
  for (const join of joins) arrow(pen, scene, join, x);
}

function cleared(canvas: HTMLCanvasElement): { pen: CanvasRenderingContext2D | null; width: number; height: number } {
  const { clientWidth: width, clientHeight: height } = canvas;
  const ratio = devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const pen = canvas.getContext("2d");
  pen?.scale(ratio, ratio);
  return { pen, width, height };
}

function bar(
  pen: CanvasRenderingContext2D, scene: Scene, at: number, y: number, from: number, to: number, x: (ms: number) => number,
): void {
  const { palette } = scene;
  const line = scene.lines[at]!;
  const thin = to - from < THIN;
  if (thin) {
    pen.fillStyle = colour("service", line, palette);
    pen.fillRect(from, y + 6, Math.max(to - from, 1.5), 12);
  }
  for (const { part, start, end } of thin ? [] : line.stretches) {
    const left = x(start);
    const wide = Math.max(x(end) - left, 1.5);
    const [top, high] = THICK[part];
    pen.globalAlpha = line.finished || part !== "service" ? 1 : 0.55;
    pen.fillStyle = part === "queue" ? palette.card : colour(part, line, palette);
    pen.fillRect(left, y + top, wide, high);
    if (part === "queue") {
      pen.fillStyle = scene.hatch;
      pen.fillRect(left, y + top, wide, high);
      pen.strokeStyle = palette.queue;
      pen.lineWidth = 1;
      if (wide > 3) pen.strokeRect(left + 0.5, y + top + 0.5, wide - 1, high - 1);
    }
  }
  pen.globalAlpha = 1;
  pen.fillStyle = palette.critical;
  for (const { start, end } of scene.path.get(at) ?? []) {
    const left = x(start);
    pen.fillRect(left, y + 19, Math.max(x(end) - left, 1), 3);
  }
  if (line.failed || at === scene.selected || scene.marked.has(at)) {
    pen.strokeStyle = line.failed ? palette.bad : palette.accent;
    pen.lineWidth = at === scene.selected ? 2 : 1.5;
    pen.strokeRect(from - 1, y + 4, Math.max(to - from, 1.5) + 2, 15);
  }
}

function colour(part: Part, line: Line, palette: Palette): string {
  if (part === "call" || part === "prefill" || part === "decode") return palette[part];
  if (line.work === "model") return palette.call;
  return line.work === "handler" || line.work === "tool" ? palette[line.work] : palette.other;
}

/** Thin lines at the times of the axis; a stretch that is cut out is a band with its length. */
export function drawGrid(canvas: HTMLCanvasElement, { axis, from, to }: Span, palette: Palette): void {
  const { pen, width, height } = cleared(canvas);
  if (!pen) return;
  pen.strokeStyle = palette.line;
  pen.lineWidth = 1;
  pen.beginPath();
  for (const { place } of ticks(axis, from, to, 6)) {
    const at = Math.round(((place - from) / (to - from)) * width) + 0.5;
    pen.moveTo(at, 0);
    pen.lineTo(at, height);
  }
  pen.stroke();
  for (const gap of axis.gaps) {
    const left = ((gap.place - from) / (to - from)) * width;
    const wide = (gap.width / (to - from)) * width;
    if (left > width || left + wide < 0) continue;
    pen.fillStyle = palette.hover;
    pen.fillRect(left, 0, wide, height);
    pen.fillStyle = palette.soft;
    pen.font = "11px system-ui, sans-serif";
    pen.save();
    pen.translate(left + wide / 2 + 4, Math.min(height / 2 + 30, height - 6));
    pen.rotate(-Math.PI / 2);
    pen.fillText(`${span(gap.end - gap.start)} idle`, 0, 0);
    pen.restore();
  }
}

/** From the end of the line that was joined to the start of the one that joins. */
function arrow(pen: CanvasRenderingContext2D, scene: Scene, link: Join, x: (ms: number) => number): void {
  const strong = link.from === scene.selected || link.to === scene.selected;
  const [x0, x1] = [x(scene.lines[link.from]!.end), x(scene.lines[link.to]!.start)];
  const [y0, y1] = [link.fromRow, link.toRow].map((row) => row * ROW + ROW / 2) as [number, number];
  const bend = Math.max(Math.abs(x1 - x0) / 2, 16);
  pen.globalAlpha = strong ? 1 : 0.5;
  pen.strokeStyle = pen.fillStyle = scene.palette.accent;
  pen.lineWidth = strong ? 2 : 1;
  pen.beginPath();
  pen.moveTo(x0, y0);
  pen.bezierCurveTo(x0 + bend, y0, x1 - bend, y1, x1 - 4, y1);
  pen.stroke();
  pen.beginPath();
  pen.moveTo(x1, y1);
  pen.lineTo(x1 - 6, y1 - 3.5);
  pen.lineTo(x1 - 6, y1 + 3.5);
  pen.fill();
  pen.globalAlpha = 1;
}

/** The pattern of what waits. */
export function hatching(palette: Palette): CanvasPattern | string {
  const tile = document.createElement("canvas");
  tile.width = tile.height = 6;
  const brush = tile.getContext("2d");
  if (!brush) return palette.queue;
  brush.strokeStyle = palette.queue;
  brush.lineWidth = 1.6;
  for (const shift of [-6, 0, 6]) {
    brush.moveTo(shift, 6);
    brush.lineTo(shift + 6, 0);
  }
  brush.stroke();
  return brush.createPattern(tile, "repeat") ?? palette.queue;
}
