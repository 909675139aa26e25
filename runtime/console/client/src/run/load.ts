/** A run as it arrives: its beginning at once, then the rest. */

import { useCallback, useEffect, useState } from "react";

import { bytes, get, query, Refused } from "../api";
import type { Row, RunDetail } from "../types";
import { count, span } from "../words";
import { linesOf, page, type Page } from "./columns";
import { lines, type Line } from "./rows";

const FIRST = 1_000; // spans: drawn before the rest is asked for
const PAGE = 50_000;
const MOST = 200_000; // more than that a browser's memory should not be asked to hold

export interface LoadedRun {
  detail: RunDetail;
  lines: Line[];
  /** More is on its way. */
  loading: boolean;
  /** Spans beyond what is shown. */
  hidden: number;
}

/** The run, and again when `reload` is called; what is shown stays until the newer answer is whole. */
export function useRun(run: string): { loaded: LoadedRun | null; error: Error | null; reload: () => void } {
  const [loaded, setLoaded] = useState<LoadedRun | null>(null);
  const [error, setError] = useState<Error | null>(null);
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    const stop = new AbortController();
    const show = (next: LoadedRun): void => setLoaded((old) => (next.loading && old ? old : next));
    fetchRun(run, stop.signal, show).then(
      () => setError(null),
      (problem: Error) => { if (!stop.signal.aborted) setError(problem); },
    );
    return () => stop.abort();
  }, [run, turn]);
  return { loaded, error, reload: useCallback(() => setTurn((n) => n + 1), []) };
}

async function fetchRun(run: string, signal: AbortSignal, show: (next: LoadedRun) => void): Promise<void> {
  const path = `/api/runs/${encodeURIComponent(run)}`;
  const detail = await get<RunDetail>(query(path, { spans: FIRST }), signal);
  const short = detail.run.spans <= FIRST;
  show({ detail, lines: lines(detail.rows, notes), loading: !short, hidden: 0 });
  if (short) return;
  try {
    const [{ pages, whole }, links] = await Promise.all([pagesOf(path, signal), linksOf(path, signal)]);
    const shown = pages.reduce((sum, each) => sum + each.header.count, 0);
    const made = linesOf(pages, links);
    show({ detail, lines: made, loading: false, hidden: whole ? 0 : detail.run.spans - shown });
  } catch (problem) {
    if (!(problem instanceof Refused && problem.status === 404)) throw problem;
    const whole = await get<RunDetail>(query(path, { spans: 50_000 }), signal); // a server without columns
    show({ detail: whole, lines: lines(whole.rows, notes), loading: false, hidden: Math.max(whole.run.spans - 50_000, 0) });
  }
}

async function pagesOf(path: string, signal: AbortSignal): Promise<{ pages: Page[]; whole: boolean }> {
  const pages: Page[] = [];
  let after: string | null = null;
  do {
    const next: Page = page(await bytes(query(`${path}/waterfall`, { limit: PAGE, after }), signal));
    pages.push(next);
    after = next.header.next;
  } while (after !== null && pages.length * PAGE < MOST);
  return { pages, whole: after === null };
}

async function linksOf(path: string, signal: AbortSignal): Promise<Map<string, string[]>> {
  const { links } = await get<{ links: { from: string; to: string }[] }>(`${path}/links`, signal);
  const of = new Map<string, string[]>();
  for (const { from, to } of links) of.set(to, [...(of.get(to) ?? []), from]);
  return of;
}

/** What stands behind a row's name. */
export function notes(row: Row): string {
  return [
    row.input_tokens || row.output_tokens ? `${count(row.input_tokens)} → ${count(row.output_tokens)} tokens` : "",
    row.cached_tokens ? `${count(row.cached_tokens)} cached` : "",
    row.queue_ms >= 1 ? `waited ${span(row.queue_ms)}` : "",
    row.attempt > 1 ? `attempt ${row.attempt}` : "",
    row.links.length ? `joins ${row.links.length}` : "",
    row.error ?? "",
  ].filter(Boolean).join(" · ");
}
