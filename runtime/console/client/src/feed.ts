/** News from the server, one stream for the whole page. The browser resumes it by itself. */

import { useEffect, useRef, useSyncExternalStore } from "react";

export interface RunsNews {
  spans: number;
  touched: number;
  runs: { run: string; title: string; status: string; spans: number }[];
}

type Listener = (kind: string, data: unknown) => void;
const KINDS = ["runs", "findings", "reset", "tasks", "approvals", "policies"];

class Feed {
  private readonly listeners = new Set<Listener>();
  private readonly watchers = new Set<() => void>();
  private source: EventSource | null = null;
  private spans = 0;
  private state: { on: boolean; words: string } = { on: false, words: "connecting" };

  open(): void {
    if (this.source) return;
    this.source = new EventSource("/api/events");
    this.source.onopen = () => this.say(true, "live");
    this.source.onerror = () => this.say(false, "reconnecting");
    for (const kind of KINDS) {
      this.source.addEventListener(kind, (event) => this.hear(kind, JSON.parse((event as MessageEvent<string>).data)));
    }
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
