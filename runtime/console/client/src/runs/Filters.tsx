/** Which runs: every choice is in the address, so that a filtered list can be kept and sent. */

import { useState, type ReactNode } from "react";

import { useData } from "../api";
import { useNames } from "../cohort/names";
import { Select } from "../parts/Parts";
import { refine } from "../route";
import type { Finding } from "../types";

export const FILTERS = [
  "status", "agent", "model", "text", "min_ms", "max_ms", "min_tokens", "max_tokens", "min_usd", "max_usd", "finding",
] as const;

const STATES = ["", "queued", "running", "ok", "error", "cancelled"].map((s) => [s, s || "any status"] as const);
const WORDS = [["agent", "agent"], ["model", "model"]] as const;
const MORE = [
  ["text", "in the name", "search"], ["min_ms", "at least ms", "number"], ["max_ms", "at most ms", "number"],
  ["min_tokens", "at least tokens", "number"], ["max_tokens", "at most tokens", "number"],
  ["min_usd", "at least $", "number"], ["max_usd", "at most $", "number"], ["finding", "finding", "search"],
] as const;

export function Filters({ query }: { query: URLSearchParams }): ReactNode {
  const [open, setOpen] = useState(() => MORE.some(([name]) => query.get(name)));
  const [near, setNear] = useState(false);
  return (
    <div className="filters" role="search" aria-label="Filter runs" onFocus={() => setNear(true)}>
      {near && <Suggestions />}
      <Select label="status" value={query.get("status") ?? ""} choices={STATES}
        onChange={(value) => refine({ status: value || null })} />
      {WORDS.map(([name, hint]) => <Field key={name} name={name} hint={hint} type="search" query={query} />)}
      <button type="button" aria-expanded={open} onClick={() => setOpen(!open)}>more filters</button>
      {open && MORE.map(([name, hint, type]) => <Field key={name} name={name} hint={hint} type={type} query={query} />)}
    </div>
  );
}

/** Takes effect when it is left or Enter is pressed: a list that changes at each letter is no help. */
function Field({ name, hint, type, query }: {
  name: string; hint: string; type: "search" | "number"; query: URLSearchParams;
}): ReactNode {
  const value = query.get(name) ?? "";
  const take = (text: string): void => {
    if (text.trim() !== value) refine({ [name]: text.trim() || null });
  };
  return (
    <input key={value} type={type} min={0} step="any" placeholder={hint} aria-label={hint} defaultValue={value}
      list={type === "search" ? `suggested-${name}` : undefined} autoComplete="off"
      onBlur={(event) => take(event.target.value)}
      onKeyDown={(event) => { if (event.key === "Enter") take(event.currentTarget.value); }} />
  );
}

/** Names that would match, for whoever is about to type one: asked for only then. */
function Suggestions(): ReactNode {
  const names = useNames();
  const findings = useData<{ findings: Finding[] }>("/api/findings").data?.findings ?? [];
  return (
    <>
      {Object.entries({ agent: names.agents, model: names.models, text: names.workflows }).map(([name, all]) => (
        <datalist key={name} id={`suggested-${name}`}>{all.map((each) => <option key={each} value={each} />)}</datalist>
      ))}
      <datalist id="suggested-finding">{findings.map((f) => <option key={f.id} value={f.id}>{f.title}</option>)}</datalist>
    </>
  );
}
