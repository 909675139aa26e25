import { afterEach, beforeEach, expect, test, vi } from "vitest";

import { follow, type Turn } from "../src/chat/turns";
import { Feed } from "../src/feed";

/** What a browser has: it calls back, and says CLOSED where it gives up. */
class Source extends EventTarget {
  static readonly CLOSED = 2;
  static all: Source[] = [];
  readyState = 0;
  onopen: (() => void) | null = null;
  onerror: (() => void) | null = null;

  constructor(readonly path: string) {
    super();
    Source.all.push(this);
  }
  close(): void { this.readyState = 2; }
  opened(): void { this.readyState = 1; this.onopen?.(); }
  says(name: string, data: unknown): void { this.dispatchEvent(new MessageEvent(name, { data: JSON.stringify(data) })); }
  fails(readyState: number): void {
    this.readyState = readyState;
    this.onerror?.();
    this.dispatchEvent(new Event("error"));
  }
}

class Sight extends EventTarget {
  hidden = false;
  turn(hidden: boolean): void { this.hidden = hidden; this.dispatchEvent(new Event("visibilitychange")); }
}

const open = (): Source[] => Source.all.filter(({ readyState }) => readyState !== Source.CLOSED);
const refuse = (status: number, message: string): void => {
  vi.stubGlobal("fetch", async () => Response.json({ error: { message } }, { status }));
};
let sight: Sight;

beforeEach(() => {
  vi.useFakeTimers();
  Source.all = [];
  sight = new Sight();
  vi.stubGlobal("EventSource", Source);
  vi.stubGlobal("document", sight);
  vi.stubGlobal("window", { setTimeout });
});
afterEach(() => { vi.useRealTimers(); vi.unstubAllGlobals(); });

function feed(): { of: Feed; heard: string[] } {
  const of = new Feed();
  const heard: string[] = [];
  of.listen((kind) => heard.push(kind));
  of.open();
  return { of, heard };
}

test("a page that nobody sees keeps no connection; seen again, it loads anew what it shows", () => {
  const { heard } = feed();
  Source.all[0]!.opened();
  sight.turn(true);
  expect(open()).toEqual([]);
  sight.turn(false);
  expect(open()).toHaveLength(1);
  open()[0]!.opened();
  open()[0]!.says("runs", { spans: 1, touched: 1, runs: [] });
  expect(heard).toEqual(["reset", "runs"]);
});

test("a page opened behind another connects when it is first seen, and has missed nothing then", () => {
  sight.hidden = true;
  const { heard } = feed();
  expect(Source.all).toEqual([]);
  sight.turn(false);
  open()[0]!.opened();
  expect(heard).toEqual([]);
});

test("a lost connection comes back by itself, and brings what was missed", () => {
  const { of, heard } = feed();
  open()[0]!.opened();
  open()[0]!.fails(0);
  expect(of.read().words).toBe("reconnecting");
  open()[0]!.opened();
  expect(of.read()).toEqual({ on: true, words: "live" });
  expect([Source.all.length, heard]).toEqual([1, []]);
});

test("a refused stream says why and is asked for again", async () => {
  const { of, heard } = feed();
  refuse(503, "32 pages are already listening; close one");
  Source.all[0]!.opened();
  Source.all[0]!.fails(2);
  await vi.advanceTimersByTimeAsync(1);
  expect(of.read()).toEqual({ on: false, words: "no news: 32 pages are already listening; close one" });
  expect(open()).toEqual([]);
  await vi.advanceTimersByTimeAsync(10_000);
  expect(open()).toHaveLength(1);
  open()[0]!.opened();
  expect([of.read().words, heard]).toEqual(["live", ["reset"]]);
});

test("who has been signed out is told", async () => {
  const { of } = feed();
  refuse(401, "sign in");
  Source.all[0]!.fails(2);
  await vi.advanceTimersByTimeAsync(1);
  expect(of.read().words).toContain("signed out");
});

test("nothing is asked for again while nobody looks", async () => {
  feed();
  refuse(502, "");
  Source.all[0]!.fails(2);
  await vi.advanceTimersByTimeAsync(1);
  sight.turn(true);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(open()).toEqual([]);
});

function asked(): { turn: Partial<Turn>; stop: () => void } {
  const turn: Partial<Turn> = { state: "sent", shown: "" };
  return { turn, stop: follow("t1", (next) => Object.assign(turn, next)) };
}

test("a turn is heard from its beginning again when the page is seen again, to its end", () => {
  const { turn } = asked();
  Source.all[0]!.says("token", { text: "good " });
  sight.turn(true);
  expect(open()).toEqual([]);
  sight.turn(false);
  for (const text of ["good ", "morning"]) open()[0]!.says("token", { text });
  expect(turn).toEqual({ state: "sent", shown: "good morning" });
  open()[0]!.says("end", { value: { text: "good morning" }, error: null, state: "done" });
  expect(turn).toEqual({ state: "answered", shown: "good morning" });
  sight.turn(true);
  sight.turn(false);
  expect([open(), Source.all.length]).toEqual([[], 2]);
});

test("a turn whose stream is refused has failed, and says why", async () => {
  const { turn } = asked();
  refuse(404, "no task t1");
  Source.all[0]!.fails(2);
  await vi.advanceTimersByTimeAsync(1);
  expect(turn).toMatchObject({ state: "failed", error: "no task t1; its run has what came of it" });
});
