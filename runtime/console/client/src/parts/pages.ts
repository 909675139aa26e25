/** A list that comes page by page, newest first, and goes on at its head while one reads further down. */

import { useCallback, useEffect, useRef, useState } from "react";

import { get, Refused } from "../api";

const SIZE = 50;
const MOST = 200; // items that the server gives at once

export interface Page<T> {
  items: T[];
  next: string | null;
}

interface Begun {
  start_unix_ms: number;
}

export interface Pages<T> {
  /** null: nothing has come yet. */
  items: T[] | null;
  error: Error | null;
  /** The server has no such address. */
  missing: boolean;
  reload: () => void;
  /** Fetches what is older; null where nothing is. */
  older: (() => void) | null;
}

/** What is kept of a list when its head comes again: the head as it is now, and what is older than that.
 *
 * A head that knows nothing of what is kept begins anew: between the two would be a gap.
 */
export function renewed<T extends Begun>(kept: Page<T>, head: Page<T>, id: (item: T) => string): Page<T> {
  const now = new Set(head.items.map(id));
  const last = head.items.at(-1);
  if (!last || head.next === null || !kept.items.some((item) => now.has(id(item)))) return head;
  const rest = kept.items.filter((item) => item.start_unix_ms <= last.start_unix_ms && !now.has(id(item)));
  return rest.length ? { items: [...head.items, ...rest], next: kept.next } : head;
}

/** A list with its next page. */
export function extended<T>(kept: Page<T>, more: Page<T>, id: (item: T) => string): Page<T> {
  const known = new Set(kept.items.map(id));
  return { items: [...kept.items, ...more.items.filter((item) => !known.has(id(item)))], next: more.next };
}

/** The list at `path`, which the answer has under `name`, for as long as the path stays. */
export function usePages<T extends Begun>(path: string, name: string, id: (item: T) => string): Pages<T> {
  const [held, setHeld] = useState<{ path: string; page: Page<T> } | null>(null);
  const [error, setError] = useState<{ path: string; error: Error } | null>(null);
  const [turn, setTurn] = useState(0);
  const page = held?.path === path ? held.page : null;
  const latest = useRef(page);
  latest.current = page;

  const load = useCallback(async (limit: number, after: string | null, signal?: AbortSignal): Promise<Page<T>> => {
    const asked = new URLSearchParams({ limit: String(limit), ...(after === null ? {} : { after }) });
    const found = await get<Record<string, unknown>>(`${path}${path.includes("?") ? "&" : "?"}${asked}`, signal);
    return { items: found[name] as T[], next: found.next as string | null };
  }, [path, name]);

  useEffect(() => {
    const stop = new AbortController();
    load(Math.min(Math.max(latest.current?.items.length ?? 0, SIZE), MOST), null, stop.signal).then(
      (head) => {
        setHeld((old) => ({ path, page: old?.path === path ? renewed(old.page, head, id) : head }));
        setError(null);
      },
      (problem: Error) => stop.signal.aborted || setError({ path, error: problem }),
    );
    return () => stop.abort();
  }, [path, turn]);

  const reload = useCallback(() => setTurn((n) => n + 1), []);
  const next = page?.next ?? null;
  const older = (): void => {
    load(SIZE, next).then(
      (more) => setHeld((old) => (old?.path === path && old.page.next === next ? { path, page: extended(old.page, more, id) } : old)),
      (problem: Error) => setError({ path, error: problem }),
    );
  };
  const failed = error?.path === path ? error.error : null;
  return {
    items: page?.items ?? null,
    error: failed,
    missing: failed instanceof Refused && (failed.status === 404 || failed.status === 405),
    reload,
    older: next === null ? null : older,
  };
}
