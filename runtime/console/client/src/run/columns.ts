/** Long runs come as columns of numbers: a page of them becomes lines without a word of JSON for each span. */

import type { Part, Work } from "../types";
import { count, span } from "../words";
import { reach, type Line, type Stretch } from "./rows";

const MAGIC = "APW1";
const ERROR = 1;
const UNFINISHED = 2;

type Kind = "f64" | "f32" | "i32" | "u32" | "u8" | "u64";

interface Header {
  count: number;
  next: string | null;
  columns: Record<string, [Kind, number]>;
  strings: string[];
  works: Work[];
}

/** A page as it came; the numbers stay where they are in memory. */
export interface Page {
  header: Header;
  column: (name: string) => ArrayLike<number>;
  ids: BigUint64Array;
  /** Of the parents: where they are on an earlier page, `parent` does not say it. 0: none. */
  parents: BigUint64Array;
}

/** Raises an Error for anything but what the server's waterfall answers. */
export function page(buffer: ArrayBuffer): Page {
  const magic = String.fromCharCode(...new Uint8Array(buffer, 0, Math.min(4, buffer.byteLength)));
  if (magic !== MAGIC) throw new Error(`the waterfall begins with ${JSON.stringify(magic)}, expected ${MAGIC}`);
  const length = new DataView(buffer).getUint32(4, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, length))) as Header;
  const base = 8 + length;
  const view = (name: string): [Kind, number] => {
    const found = header.columns[name];
    if (!found) throw new Error(`the waterfall has no column ${name}`);
    return [found[0], base + found[1]];
  };
  return {
    header,
    column: (name) => {
      const [kind, offset] = view(name);
      if (kind === "f64") return new Float64Array(buffer, offset, header.count);
      if (kind === "f32") return new Float32Array(buffer, offset, header.count);
      if (kind === "i32") return new Int32Array(buffer, offset, header.count);
      if (kind === "u32") return new Uint32Array(buffer, offset, header.count);
      if (kind === "u8") return new Uint8Array(buffer, offset, header.count);
      throw new Error(`the waterfall's column ${name} is of kind ${kind}, expected numbers`);
    },
    ids: new BigUint64Array(buffer, view("span")[1], header.count),
    parents: new BigUint64Array(buffer, view("parent_span")[1], header.count),
  };
}

/** Lines of all pages in reading order: depth first, children by start, as the pages have them. */
export function linesOf(pages: readonly Page[], links: ReadonlyMap<string, string[]>): Line[] {
  const flat: Line[] = [];
  const known = new Map<bigint, number>();
  for (const each of pages) {
    const first = flat.length;
    each.ids.forEach((id, at) => known.set(id, first + at));
    for (const line of flatLines(each, links)) {
      if (line.parent >= 0) line.parent += first;
      flat.push(line);
    }
  }
  let first = 0;
  for (const { parents } of pages) {
    parents.forEach((parent, at) => {
      const line = flat[first + at]!;
      if (line.parent < 0 && parent) line.parent = known.get(parent) ?? -1; // on another page
    });
    first += parents.length;
  }
  const children = new Map<number, number[]>();
  flat.forEach((line, at) => {
    const mine = children.get(line.parent);
    if (mine) mine.push(at);
    else children.set(line.parent, [at]);
  });
  const made: Line[] = [];
  const place = new Map<number, number>();
  const walk = (tops: readonly number[]): void => {
    const stack = [...tops].reverse();
    while (stack.length) {
      const at = stack.pop()!;
      if (place.has(at)) continue;
      const line = flat[at]!;
      const parent = place.get(line.parent) ?? -1;
      const below = children.get(at);
      const taker = line.work === "message" && below?.length === 1 && !place.has(below[0]!) ? flat[below[0]!]! : null;
      const shown = taker?.work === "handler" ? taken(line, taker) : line;
      const top = shown === line ? at : below![0]!;
      place.set(at, made.length).set(top, made.length);
      const notes = shown.links.length ? [shown.notes, `joins ${shown.links.length}`].filter(Boolean).join(" · ") : shown.notes;
      made.push({ ...shown, notes, parent, last: made.length, depth: (made[parent]?.depth ?? -1) + 1 });
      const mine = children.get(top);
      if (mine) for (let n = mine.length - 1; n >= 0; n--) stack.push(mine[n]!);
    }
  };
  walk(children.get(-1) ?? []);
  for (let at = 0; at < flat.length; at++) if (!place.has(at)) walk([at]); // parents that name each other in a circle
  return reach(made);
}

/** A message that exactly one handler took, and nothing else, is one line with it: as the server's rows are. */
function taken(message: Line, handler: Line): Line {
  return {
    ...handler, caller: message.id, label: message.label, start: Math.min(message.start, handler.start),
    end: Math.max(message.end, handler.end), stretches: [...message.stretches, ...handler.stretches],
    links: [...new Set([...message.links, ...handler.links])],
  };
}

function flatLines({ header, column, ids }: Page, links: ReadonlyMap<string, string[]>): Line[] {
  const [starts, durations, queues] = [column("start_ms"), column("duration_ms"), column("queue_ms")];
  const [prefills, decodes] = [column("prefill_ms"), column("decode_ms")];
  const [parents, labels, agents, models] = [column("parent"), column("label"), column("agent"), column("model")];
  const [works, flags, tokens, traces] = [column("work"), column("flags"), column("tokens"), column("trace")];
  return Array.from({ length: header.count }, (_, at): Line => {
    const start = starts[at]!;
    const end = start + durations[at]!;
    const queue = queues[at]!;
    const work = header.works[works[at]!] ?? "other";
    const within: Stretch[] =
      work === "model" ? inTurn(start, end, { queue, prefill: prefills[at]!, decode: decodes[at]! })
      : queue > 0 ? [{ part: "queue", start: start - queue, end: start }] : [];
    const id = `${header.strings[traces[at]!]}.${ids[at]!.toString(16).padStart(16, "0")}`;
    const notes = [tokens[at] ? `${count(tokens[at]!)} tokens` : "", queue >= 1 ? `waited ${span(queue)}` : "",
      header.strings[models[at]!] ?? ""];
    return {
      id, caller: null, parent: parents[at]!, last: at, depth: 0, label: header.strings[labels[at]!] ?? "",
      work, agent: header.strings[agents[at]!] ?? "", start: work === "model" ? start : start - queue, end,
      finished: (flags[at]! & UNFINISHED) === 0, failed: (flags[at]! & ERROR) !== 0,
      notes: notes.filter(Boolean).join(" · "),
      stretches: [{ part: work === "message" ? "call" : "service", start, end }, ...within],
      links: links.get(id) ?? [],
    };
  });
}

/** What follows one another from `start`; measured by another clock than the span, so that it may have to be cut. */
function inTurn(start: number, end: number, took: Partial<Record<Part, number>>): Stretch[] {
  let now = start;
  return Object.entries(took).flatMap(([part, ms]) => {
    const from = now;
    now = Math.min(from + ms, end);
    return now > from ? [{ part: part as Part, start: from, end: now }] : [];
  });
}
