/** One question and its answer, as it comes. */

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

/** Listens to a task until it has ended; returns what stops it. */
export function follow(task: string, change: (next: Partial<Turn>) => void): () => void {
  const source = new EventSource(`/api/tasks/${encodeURIComponent(task)}/events`);
  const shown = new Shown();
  const on = <T>(name: string, hear: (data: T) => void): void =>
    source.addEventListener(name, (event) => hear(JSON.parse((event as MessageEvent<string>).data) as T));
  on<{ text: string }>("token", ({ text }) => change({ shown: shown.add(text) }));
  on<{ value: unknown }>("progress", ({ value }) => change({ shown: shown.add(`${words(value)}\n`) }));
  on<{ n: number }>("restarted", ({ n }) => change({ shown: shown.restart(n) }));
  on<{ missed: number }>("gap", ({ missed }) => change({ shown: shown.add(` [${missed} pieces lost] `) }));
  on<{ value: unknown; error: { message: string } | null; state: string }>("end", ({ value, error, state }) => {
    source.close();
    change(error ? { state: "failed", error: error.message }
      : { state: "answered", shown: value === null ? `(${state})` : words(value) });
  });
  return () => source.close();
}
