/** Event streams of the server. A browser has six connections to it for all of its tabs, so unseen tabs keep none. */

import { refusal, type Refused } from "./api";

/** Calls `open` whenever the page comes into sight, and what it returned when it goes out of it; returns what ends both. */
export function whileSeen(open: () => () => void): () => void {
  let close: (() => void) | null = null;
  const shut = (): void => { close?.(); close = null; };
  const look = (): void => { if (document.hidden) shut(); else close ??= open(); };
  document.addEventListener("visibilitychange", look);
  look();
  return () => { document.removeEventListener("visibilitychange", look); shut(); };
}

/**
 * Hears the events of `path` by their names. A lost connection comes back by itself; after an answer other than 200 none
 * does, and `ended` is told why the server refuses, or null if it does so no longer.
 */
export function events(
  path: string, hear: Record<string, (data: never) => void>, ended: (why: Refused | null) => void,
): EventSource {
  const source = new EventSource(path);
  for (const [name, on] of Object.entries(hear)) {
    source.addEventListener(name, (event) => on(JSON.parse((event as MessageEvent<string>).data) as never));
  }
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) void refusal(path).then(ended);
  });
  return source;
}
