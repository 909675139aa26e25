import { expect, test, vi } from "vitest";

import { linesOf, page } from "../src/run/columns";
import { linksOf } from "../src/run/load";

const EARLIER = -2; // for a parent: span 1, which an earlier page has
const MESSAGE = 128; // among the flags: not the server's, it says here that the span is a message
const MODEL = 64; // so does this, a model call
const STRINGS = ["", "a.work", "b.work", "0".repeat(32), "a"];

const id = (number: number): string => `${"0".repeat(32)}.${String(number).padStart(16, "0")}`;

/** A page of spans numbered from `first` as the server packs it, of [parent, start, duration, queue, flags] for each span. A
 *  span with MODEL among its flags reads for 2 ms and writes for 4. */
function packed(first: number, ...spans: [number, number, number, number, number][]): ArrayBuffer {
  const columns: Record<string, [string, number]> = {};
  const parts: [string, number, number[]][] = [
    ["start_ms", 8, spans.map((s) => s[1])], ["duration_ms", 8, spans.map((s) => s[2])], ["queue_ms", 4, spans.map((s) => s[3])],
    ["prefill_ms", 4, spans.map((s) => (s[4] & MODEL ? 2 : 0))], ["decode_ms", 4, spans.map((s) => (s[4] & MODEL ? 4 : 0))],
    ["parent", 4, spans.map((s) => Math.max(s[0], -1))], ["label", 4, spans.map((_, n) => 1 + (n % 2))], ["agent", 4, spans.map(() => 4)],
    ["model", 4, spans.map(() => 0)], ["work", 1, spans.map((s) => (s[4] & MESSAGE ? 1 : s[4] & MODEL ? 2 : 0))], ["flags", 1, spans.map((s) => s[4])],
    ["tokens", 4, spans.map(() => 0)], ["trace", 4, spans.map(() => 3)], ["span", 8, spans.map((_, n) => first + n)],
    ["parent_span", 8, spans.map((s) => (s[0] === EARLIER ? 1 : 0))],
  ];
  const kinds: Record<string, string> = { start_ms: "f64", duration_ms: "f64", queue_ms: "f32", prefill_ms: "f32", decode_ms: "f32", parent: "i32", work: "u8", flags: "u8", span: "u64", parent_span: "u64" };
  let at = 0;
  for (const [name, width, values] of parts) {
    columns[name] = [kinds[name] ?? "u32", at];
    at += Math.ceil((width * values.length) / 8) * 8;
  }
  const head = JSON.stringify({ run: "r", count: spans.length, next: null, columns, strings: STRINGS, works: ["handler", "message", "model"] });
  const header = new TextEncoder().encode(head.padEnd(Math.ceil((head.length + 8) / 8) * 8 - 8));
  const buffer = new ArrayBuffer(8 + header.length + at);
  const view = new DataView(buffer);
  [..."APW1"].forEach((letter, n) => view.setUint8(n, letter.charCodeAt(0)));
  view.setUint32(4, header.length, true);
  new Uint8Array(buffer).set(header, 8);
  for (const [name, width, values] of parts) {
    values.forEach((value, n) => {
      const place = 8 + header.length + columns[name]![1] + n * width;
      const kind = columns[name]![0];
      if (kind === "f64") view.setFloat64(place, value, true);
      else if (kind === "f32") view.setFloat32(place, value, true);
      else if (kind === "i32") view.setInt32(place, value, true);
      else if (kind === "u64") view.setBigUint64(place, BigInt(value), true);
      else if (kind === "u8") view.setUint8(place, value);
      else view.setUint32(place, value, true);
    });
  }
  return buffer;
}

test("columns become lines depth first, children by start", () => {
  const lines = linesOf([page(packed(1, [-1, 0, 100, 0, 0], [0, 10, 50, 5, 1], [0, 20, 10, 0, 2], [1, 30, 10, 0, 0]))], new Map());
  expect(lines.map((line) => [line.id.slice(-2), line.depth, line.parent])).toEqual([["01", 0, -1], ["02", 1, 0], ["04", 2, 1], ["03", 1, 0]]);
  expect(lines[1]).toMatchObject({ label: "b.work", agent: "a", start: 5, end: 60, failed: true, finished: true });
  expect(lines[1]!.stretches.map((s) => [s.part, s.start, s.end])).toEqual([["service", 10, 60], ["queue", 5, 10]]);
  expect(lines[3]!.finished).toBe(false);
});

test("a parent on an earlier page is found by its id", () => {
  const pages = [packed(1, [-1, 0, 100, 0, 0]), packed(2, [EARLIER, 10, 5, 0, 0], [0, 11, 2, 0, 0])].map(page);
  expect(linesOf(pages, new Map()).map((line) => [line.depth, line.parent])).toEqual([[0, -1], [1, 0], [2, 1]]);
});

test("what begins with its parent and was stored before it hangs below it, on its page or the one before", () => {
  const one = [page(packed(1, [1, 0, 5, 0, 0], [-1, 0, 9, 0, 0]))];
  expect(linesOf(one, new Map()).map((line) => [line.id.slice(-2), line.depth])).toEqual([["02", 0], ["01", 1]]);
  const two = [page(packed(2, [EARLIER, 0, 5, 0, 0])), page(packed(1, [-1, 0, 9, 0, 0]))];
  expect(linesOf(two, new Map()).map((line) => [line.id.slice(-2), line.depth])).toEqual([["01", 0], ["02", 1]]);
});

test("a message and the one handler that took it are one line, its children below it", () => {
  const lines = linesOf([page(packed(1, [-1, 0, 10, 0, MESSAGE], [0, 5, 95, 2, 0], [1, 6, 1, 0, 0]))], new Map());
  expect(lines.map((line) => [line.depth, line.start, line.end])).toEqual([[0, 0, 100], [1, 6, 7]]);
  expect(lines[0]!.caller).toMatch(/01$/);
  expect(lines[0]!.stretches.map((s) => s.part)).toEqual(["call", "service", "queue"]);
});

test("a model waits, reads and writes within its time, as short runs show it", () => {
  const [whole, cut] = linesOf([page(packed(1, [-1, 10, 8, 1, MODEL], [-1, 20, 5, 1, MODEL]))], new Map());
  expect(whole!.stretches.map((s) => [s.part, s.start, s.end])).toEqual(
    [["service", 10, 18], ["queue", 10, 11], ["prefill", 11, 13], ["decode", 13, 17]]);
  expect(cut!.stretches.at(-1)).toEqual({ part: "decode", start: 23, end: 25 });
});

test("a line continues what its work and the message that asked for it were linked to, each once", () => {
  const lines = linesOf([page(packed(1, [-1, 0, 10, 0, MESSAGE], [0, 5, 95, 2, 0], [1, 6, 1, 0, 0]))],
    new Map([[id(1), ["x", "y"]], [id(2), ["y", "z"]]]));
  expect(lines.map((line) => line.links)).toEqual([["x", "y", "z"], []]);
  expect(lines.map((line) => line.notes)).toEqual(["waited 2.0 ms · joins 3", ""]);
});

test("links are kept with the span that continues, as the server says them", async () => {
  const links = [{ from: id(3), to: id(1) }, { from: id(3), to: id(2) }];
  vi.stubGlobal("fetch", async () => Response.json({ links, truncated: true }));
  const { of, whole } = await linksOf("/api/runs/r");
  expect(whole).toBe(false);
  vi.unstubAllGlobals();
  const lines = linesOf([page(packed(1, [-1, 0, 9, 0, 0], [0, 1, 2, 0, 0], [0, 4, 2, 0, 0]))], of);
  expect(lines.map((line) => line.links)).toEqual([[], [], [id(1), id(2)]]);
});

test("parents that name one another do not hang the page", () => {
  expect(linesOf([page(packed(1, [1, 0, 1, 0, 0], [0, 0, 1, 0, 0]))], new Map())).toHaveLength(2);
});

test("anything else is refused with what was found", () => {
  expect(() => page(new TextEncoder().encode("<!doctype html>").buffer)).toThrow('begins with "<!do", expected APW1');
});
