/** News from the server, one stream for the whole page, while it is seen. */

import { useEffect, useRef, useSyncExternalStore } from "react";

import { events, whileSeen } from "./stream";

export interface RunsNews {
  spans: number;
  touched: number;
  runs: { run: string; title: string; status: string; spans: number }[];
}

type Listener = (kind: string, data: unknown) => void;
const KINDS = ["runs", "findings", "reset"];
const RETRY_MS = 5_000; // after the server refused

export class Feed {
  private readonly listeners = new Set<Listener>();
  private readonly watchers = new Set<() => void>();
  private spans = 0;
  private missed = false; // there was a stream before, and what happened since has to be loaded
  private state: { on: boolean; words: string } = { on: false, words: "connecting" };

  open(): void {
    whileSeen(() => this.connect());
  }

  private connect(): () => void {
    const hears = Object.fromEntries(KINDS.map((kind) => [kind, (data: unknown) => this.hear(kind, data)]));
    let timer: number | undefined;
    let source: EventSource | null = null;
    const open = (): void => {
      const now = events("/api/events", hears, (why) => {
        if (source !== now) return; // nobody looks any more
        this.say(false, why?.status === 401 ? "signed out: reload the page" : `no news: ${why?.message ?? "trying again"}`);
        timer = window.setTimeout(open, RETRY_MS);
      });
      source = now;
      now.onerror = () => this.say(false, "reconnecting");
      now.onopen = () => {
        now.onopen = () => this.say(true, "live"); // the browser resumed it
        this.say(true, "live");
        if (this.missed) this.hear("reset", {});
        this.missed = true;
      };
    };
    open();
    return () => { clearTimeout(timer); source?.close(); source = null; };
  }

  readonly watch = (watcher: () => void): (() => void) => {
    this.watchers.add(watcher);
    return () => this.watchers.delete(watcher);
  };

  readonly read = (): { on: boolean; words: string } => this.state;

  listen(listener: Listener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  private hear(kind: string, data: unknown): void {
    if (kind === "runs") {
      this.spans += (data as RunsNews).spans;
      this.say(true, `live · ${this.spans.toLocaleString("en")} new spans`);
    }
    for (const listener of this.listeners) listener(kind, data);
  }

  private say(on: boolean, words: string): void {
    this.state = { on, words };
    for (const watcher of this.watchers) watcher();
  }
}

export const feed = new Feed();

/** How the stream is: for the header. */
export const useFeedState = (): { on: boolean; words: string } => useSyncExternalStore(feed.watch, feed.read);

/** Calls back on news; the callback may change freely. */
export function useNews(onNews: Listener): void {
  const latest = useRef(onNews);
  latest.current = onNews;
  useEffect(() => feed.listen((kind, data) => latest.current(kind, data)), []);
}
