/** A run as it arrives: its beginning at once, then the rest. */

import { useCallback, useEffect, useState } from "react";

import { bytes, get, query } from "../api";
import type { Row, RunDetail, RunSpending } from "../types";
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
  /** All links are there. */
  linked: boolean;
  /** Where time and tokens went, of how many of its spans; null until that is known. */
  spent: RunSpending | null;
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
  const spent = short ? { spans: detail.run.spans, spending: detail.spending } : null;
  show({ detail, lines: lines(detail.rows, notes), loading: !short, hidden: 0, linked: true, spent });
  if (short) return;
  const [{ pages, whole }, links, all] = await Promise.all([
    pagesOf(path, signal), linksOf(path, signal), get<RunSpending>(`${path}/spending`, signal),
  ]);
  const shown = pages.reduce((sum, each) => sum + each.header.count, 0);
  const made = linesOf(pages, links.of);
  const hidden = whole ? 0 : detail.run.spans - shown;
  show({ detail, lines: made, loading: false, hidden, linked: links.whole, spent: all });
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

interface Links {
  /** What each span continues besides its parent. */
  of: Map<string, string[]>;
  whole: boolean;
}

export async function linksOf(path: string, signal?: AbortSignal): Promise<Links> {
  const { links, truncated } = await get<{ links: { from: string; to: string }[]; truncated: boolean }>(`${path}/links`, signal);
  const of = new Map<string, string[]>();
  for (const { from, to } of links) { // `from` continues `to`
    const found = of.get(from);
    if (found) found.push(to);
    else of.set(from, [to]);
  }
  return { of, whole: !truncated };
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
