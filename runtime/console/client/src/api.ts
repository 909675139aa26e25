/** Requests to the server that this page came from. */

import { useCallback, useEffect, useRef, useState } from "react";

/** What the server said no with. */
export class Refused extends Error {
  constructor(readonly status: number, message: string) {
    super(message);
  }
}

interface Session {
  action_token: string;
  /** Who one has proven to be; null: whoever has the token. */
  person: string | null;
  /** By a session, which /logout ends. */
  signed_in: boolean;
  tenant: string;
  version: string;
  capture: boolean;
  actions: string[];
}

async function checked(answer: Response): Promise<Response> {
  if (answer.ok) return answer;
  const body = (await answer.json().catch(() => ({}))) as { error?: { message?: string } };
  throw new Refused(answer.status, body.error?.message ?? `the console answered ${answer.status}`);
}

/** `params` that are empty are left out. */
export function query(path: string, params: Record<string, string | number | null | undefined>): string {
  const given = Object.entries(params).filter(([, v]) => v !== "" && v !== null && v !== undefined);
  return given.length ? `${path}?${new URLSearchParams(given.map(([k, v]) => [k, String(v)]))}` : path;
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  const answer = await fetch(path, { headers: { accept: "application/json" }, ...(signal ? { signal } : {}) });
  return (await checked(answer)).json() as Promise<T>;
}

export async function bytes(path: string, signal?: AbortSignal): Promise<ArrayBuffer> {
  return (await checked(await fetch(path, signal ? { signal } : {}))).arrayBuffer();
}

/** Why the server refuses `path`, which streams; null when it does not, or is not there. */
export async function refusal(path: string): Promise<Refused | null> {
  const stop = new AbortController();
  try {
    await checked(await fetch(path, { signal: stop.signal }));
    return null;
  } catch (problem) {
    return problem instanceof Refused ? problem : null;
  } finally {
    stop.abort();
  }
}

let opened: Promise<Session> | null = null;

/** Once for the page. A server without it refuses, and what needs it stays away. */
export function session(): Promise<Session> {
  opened ??= get<Session>("/api/session").catch((error: unknown) => {
    opened = null;
    throw error;
  });
  return opened;
}

/** Cookies let nobody change anything: writing takes the token that only this page's scripts can read. */
export async function post(path: string, body: unknown): Promise<Response> {
  const { action_token } = await session();
  return checked(
    await fetch(path, {
      method: "POST",
      headers: { "content-type": "application/json", "x-antiphon-action": action_token },
      body: JSON.stringify(body),
    }),
  );
}

export async function act<T>(name: string, body: unknown): Promise<T> {
  return ((await (await post(`/api/actions/${name}`, body)).json()) as { result: T }).result;
}

export interface Loaded<T> {
  data: T | null;
  error: Error | null;
  /** The server has no such address: leave the part out. */
  missing: boolean;
  reload: () => void;
}

/** What `path` says, kept while a newer answer is on its way; null asks for nothing. */
export function useData<T>(path: string | null): Loaded<T> {
  const [state, setState] = useState<{ path: string | null; data: T | null; error: Error | null }>({
    path: null, data: null, error: null,
  });
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    if (path === null) return;
    const stop = new AbortController();
    get<T>(path, stop.signal).then(
      (data) => setState({ path, data, error: null }),
      (error: Error) => stop.signal.aborted || setState((old) => ({ path, data: old.path === path ? old.data : null, error })),
    );
    return () => stop.abort();
  }, [path, turn]);
  const reload = useCallback(() => setTurn((n) => n + 1), []);
  return {
    data: state.data,
    error: state.path === path ? state.error : null,
    missing: state.error instanceof Refused && (state.error.status === 404 || state.error.status === 405),
    reload,
  };
}

/** The names of actions this server takes; none while that is unknown. */
export function useActions(): ReadonlySet<string> {
  const [names, setNames] = useState<ReadonlySet<string>>(new Set());
  useEffect(() => {
    session().then((s) => setNames(new Set(s.actions)), () => undefined);
  }, []);
  return names;
}

/** `work`, at most once in `everyMs`, the last wish never forgotten. */
export function useThrottled(work: () => void, everyMs: number): () => void {
  const latest = useRef(work);
  latest.current = work;
  const timer = useRef<number | null>(null);
  useEffect(() => () => { if (timer.current !== null) clearTimeout(timer.current); }, []);
  return useCallback(() => {
    timer.current ??= window.setTimeout(() => { timer.current = null; latest.current(); }, everyMs);
  }, [everyMs]);
}
