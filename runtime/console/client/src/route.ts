/** Where we are: everything behind the # of the address, so that links and the back button work as everywhere. */

import { useSyncExternalStore } from "react";

export interface Route {
  view: string;
  id: string | null;
  query: URLSearchParams;
}

/** `#/runs/r1?span=x` is view runs, id r1. */
export function parse(hash: string): Route {
  const [path = "", search = ""] = hash.replace(/^#/, "").split("?", 2);
  const [, view = "", id] = path.split("/");
  return { view: view || "runs", id: id ? decode(id) : null, query: new URLSearchParams(search) };
}

/** The address of a view; parameters that are empty are left out. */
export function link(view: string, id?: string | null, params: Record<string, string | null | undefined> = {}): string {
  const given = Object.entries(params).filter((pair): pair is [string, string] => Boolean(pair[1]));
  const search = given.length ? `?${new URLSearchParams(given)}` : "";
  return `#/${view}${id ? `/${encodeURIComponent(id)}` : ""}${search}`;
}

function decode(id: string): string {
  try {
    return decodeURIComponent(id);
  } catch {
    return id; // a stray % that somebody typed
  }
}

const watch = (changed: () => void): (() => void) => {
  addEventListener("hashchange", changed);
  return () => removeEventListener("hashchange", changed);
};

export function useRoute(): Route {
  return parse(useSyncExternalStore(watch, () => location.hash));
}

/** Change parameters of the current view, without an entry in the history. */
export function refine(changes: Record<string, string | null>): void {
  const { view, id, query } = parse(location.hash);
  history.replaceState(null, "", link(view, id, { ...Object.fromEntries(query), ...changes }));
  dispatchEvent(new HashChangeEvent("hashchange"));
}
