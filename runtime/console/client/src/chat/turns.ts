/** One question and its answer, as it comes. */

import { events, whileSeen } from "../stream";

/** Questions that may be open at a time: each has a connection, and the browser has six for everything. */
export const OPEN = 4;

export interface Turn {
  to: string;
  asked: string;
  shown: string;
  run: string | null;
  state: "sent" | "answered" | "failed";
  error: string;
}

/** What a finished task says in words: the one text of its reply, or all of it as JSON. */
export function words(value: unknown): string {
  if (typeof value === "string") return value;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "";
  const texts = Object.values(value).filter((each): each is string => typeof each === "string");
  return texts.length === 1 ? texts[0]! : JSON.stringify(value, null, 2);
}

/** Items with their places; what a later attempt says from a place on replaces what stood there. */
export class Shown {
  private items: string[] = [];

  add(text: string): string {
    this.items.push(text);
    return this.items.join("");
  }

  restart(from: number): string {
    this.items = this.items.slice(0, from);
    return this.items.join("");
  }
}

/** Listens to a task until it has ended, from its beginning each time the page is seen; returns what stops it. */
export function follow(task: string, change: (next: Partial<Turn>) => void): () => void {
  const path = `/api/tasks/${encodeURIComponent(task)}/events`;
  const end = (next: Partial<Turn>): void => { stop(); change(next); };
  const stop = whileSeen(() => {
    const shown = new Shown();
    const source = events(path, {
      token: ({ text }: { text: string }) => change({ shown: shown.add(text) }),
      progress: ({ value }: { value: unknown }) => change({ shown: shown.add(`${words(value)}\n`) }),
      restarted: ({ n }: { n: number }) => change({ shown: shown.restart(n) }),
      gap: ({ missed }: { missed: number }) => change({ shown: shown.add(` [${missed} pieces lost] `) }),
      end: ({ value, error, state }: { value: unknown; error: { message: string } | null; state: string }) => end(error
        ? { state: "failed", error: error.message }
        : { state: "answered", shown: value === null ? `(${state})` : words(value) }),
    }, (why) => end({ state: "failed", error: `${why?.message ?? "the console stopped telling"}; its run has what came of it` }));
    return () => source.close();
  });
  return stop;
}
