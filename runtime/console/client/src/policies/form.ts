/** A policy as a form: the fields of its kind, its target and its level, from the schemas that the server checks by. */

import type { Schema } from "../types";

export interface Policy {
  id: string;
  proposal: { action: { kind: string } & Record<string, unknown>; target: string; agent: string | null };
  level: string;
  share: number;
  arms: string;
  slice_s: number;
  /** The finding that it came from; null: a person's. */
  finding: string | null;
  since_unix_ms: number;
  reason: string;
}

export type Schemas = Record<string, Schema>;

/** The part of the API's description that is needed here. */
export interface Described {
  components: { schemas: Schemas };
}

const OF_POLICY = ["level", "share", "arms", "slice_s", "reason", "id"];

/** The kinds there are, each with the name of its schema. */
export function kinds(schemas: Schemas): Record<string, string> {
  const mapping = schemas.Proposal?.properties?.action?.discriminator?.mapping ?? {};
  return Object.fromEntries(Object.entries(mapping).map(([kind, ref]) => [kind, ref.slice(ref.lastIndexOf("/") + 1)]));
}

/** One object of plain fields; what `now` says stands there at the beginning. */
export function formOf(schemas: Schemas, kind: string, now?: Policy): Schema {
  const action = schemas[kinds(schemas)[kind] ?? ""] ?? {};
  const { kind: _, ...parameters } = action.properties ?? {};
  const proposal = schemas.Proposal?.properties ?? {};
  const whole = schemas.Policy?.properties ?? {};
  const properties: Record<string, Schema> = {
    target: { ...proposal.target, description: "such as tool search, model m, ask critic.review" },
    agent: { ...proposal.agent, description: "only this agent's operations" },
    ...parameters,
    ...Object.fromEntries(OF_POLICY.map((name) => [name, whole[name] ?? {}])),
  };
  const given: Record<string, unknown> = now ? { ...now.proposal.action, ...now.proposal, ...now } : {};
  return {
    properties: Object.fromEntries(Object.entries(properties).map(([name, each]) =>
      [name, given[name] === undefined ? each : { ...each, default: given[name] }])),
    required: ["target", ...(action.required ?? [])],
    ...(action.description ? { description: action.description } : {}),
    $defs: schemas,
  };
}

/** What was filled in, as a policy; without an id of its own it is named after what it does. */
export function policyOf(kind: string, filled: Record<string, unknown>, now?: Policy): Record<string, unknown> {
  const { target, agent, id, ...rest } = filled;
  const own = new Set(OF_POLICY);
  const parts = (mine: boolean): Record<string, unknown> =>
    Object.fromEntries(Object.entries(rest).filter(([name]) => own.has(name) === mine));
  return {
    id: id ?? named(kind, String(target), String(agent ?? "")),
    proposal: { action: { kind, ...parts(false) }, target, agent: agent ?? null },
    finding: now?.finding ?? null,
    ...parts(true),
  };
}

/** The same wish again changes the policy and makes no second one; as `antiphon policy set` names them. */
function named(...parts: string[]): string {
  return parts.join(" ").replace(/[^a-zA-Z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 64);
}
