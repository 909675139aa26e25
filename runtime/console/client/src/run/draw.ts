/** The bars of the lines that are in sight, on a canvas. */

import type { Part } from "../types";
import { span } from "../words";
import { ticks, type Axis } from "./axis";
import type { Critical } from "./critical";
import type { Palette } from "./palette";
import type { Line } from "./rows";

export const ROW = 24; // pixels

/** What there is to draw: `rows` are places of lines, one list for each row in sight; `top` of the first is in pixels. */
export interface Scene {
  lines: readonly Line[];
  rows: readonly (readonly number[])[];
  top: number;
  axis: Axis;
  from: number;
  to: number;
  selected: number;
  marked: ReadonlySet<number>;
  path: ReadonlyMap<number, readonly Critical[]>;
  /** Pairs of a line and one that it continues, with the rows that they are in (rows in sight count from 0). */
  links: readonly { from: number; to: number; fromRow: number; toRow: number }[];
}

const THICK: Record<Part, [top: number, height: number]> = {
  call: [10, 4], queue: [6, 12], service: [6, 12], prefill: [6, 12], decode: [6, 12],
};

export function draw(canvas: HTMLCanvasElement, scene: Scene, palette: Palette): void {
  const { width, height } = canvas.getBoundingClientRect();
  const ratio = devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const pen = canvas.getContext("2d");
  if (!pen) return;
  pen.scale(ratio, ratio);
  const x = (ms: number): number => ((scene.axis.place(ms) - scene.from) / (scene.to - scene.from)) * width;
  const hatch = hatching(pen, palette);
  grid(pen, scene, palette, width, height);
  scene.rows.forEach((items, row) => {
    let drawn = -1; // the last pixel drawn in this row: what is narrower than a pixel is drawn once
    for (const at of items) {
      const line = scene.lines[at]!;
      const right = x(line.end);
      if (right < 0 || (right <= drawn && at !== scene.selected)) continue;
      if (x(line.start) > width) break;
      bar(pen, scene, palette, hatch, at, scene.top + row * ROW, x);
      drawn = Math.floor(Math.max(right, x(line.start) + 1));
    }
  });
  for (const link of scene.links) arrow(pen, scene, palette, link, x);
}

function bar(
  pen: CanvasRenderingContext2D, scene: Scene, palette: Palette, hatch: CanvasPattern | string, at: number, y: number,
  x: (ms: number) => number,
): void {
  const line = scene.lines[at]!;
  for (const { part, start, end } of line.stretches) {
    const left = x(start);
    const wide = Math.max(x(end) - left, 1.5);
    const [top, high] = THICK[part];
    pen.globalAlpha = line.finished || part !== "service" ? 1 : 0.55;
    pen.fillStyle = part === "queue" ? palette.card : colour(part, line, palette);
    pen.fillRect(left, y + top, wide, high);
    if (part === "queue") {
      pen.fillStyle = hatch;
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
    pen.strokeRect(x(line.start) - 1, y + 4, Math.max(x(line.end) - x(line.start), 1.5) + 2, 15);
  }
}

function colour(part: Part, line: Line, palette: Palette): string {
  if (part === "call" || part === "prefill" || part === "decode") return palette[part];
  if (line.work === "model") return palette.call;
  return line.work === "handler" || line.work === "tool" ? palette[line.work] : palette.other;
}

/** Thin lines at the times of the axis; a stretch that is cut out is a band with its length. */
function grid(pen: CanvasRenderingContext2D, scene: Scene, palette: Palette, width: number, height: number): void {
  pen.strokeStyle = palette.line;
  pen.lineWidth = 1;
  pen.beginPath();
  for (const { place } of ticks(scene.axis, scene.from, scene.to, 6)) {
    const at = Math.round(((place - scene.from) / (scene.to - scene.from)) * width) + 0.5;
    pen.moveTo(at, 0);
    pen.lineTo(at, height);
  }
  pen.stroke();
  for (const gap of scene.axis.gaps) {
    const left = ((gap.place - scene.from) / (scene.to - scene.from)) * width;
    const wide = (gap.width / (scene.to - scene.from)) * width;
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
function arrow(
  pen: CanvasRenderingContext2D, scene: Scene, palette: Palette, link: Scene["links"][number], x: (ms: number) => number,
): void {
  const strong = link.from === scene.selected || link.to === scene.selected;
  const [x0, x1] = [x(scene.lines[link.from]!.end), x(scene.lines[link.to]!.start)];
  const [y0, y1] = [link.fromRow, link.toRow].map((row) => scene.top + row * ROW + ROW / 2) as [number, number];
  const bend = Math.max(Math.abs(x1 - x0) / 2, 16);
  pen.globalAlpha = strong ? 1 : 0.5;
  pen.strokeStyle = pen.fillStyle = palette.accent;
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

function hatching(pen: CanvasRenderingContext2D, palette: Palette): CanvasPattern | string {
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
  return pen.createPattern(tile, "repeat") ?? palette.queue;
}
