/** What the API says; the server's views.py and schemas/ have the meanings. Times are milliseconds. */

export type Status = "queued" | "running" | "ok" | "error" | "cancelled";

export interface Run {
  run: string;
  title: string;
  status: Status;
  start_unix_ms: number;
  duration_ms: number;
  spans: number;
  unfinished: number;
  errors: number;
  model_calls: number;
  input_tokens: number;
  cached_tokens: number;
  output_tokens: number;
  cost_usd?: number;
  agents: string[];
  models: string[];
}

export interface RunPage {
  runs: Run[];
  next: string | null;
}

export type Part = "call" | "queue" | "service" | "prefill" | "decode";
export type Work = "handler" | "model" | "tool" | "message" | "other";

export interface Segment {
  part: Part;
  start_ms: number;
  end_ms: number;
}

export interface Row {
  id: string;
  caller: string | null;
  depth: number;
  label: string;
  work: Work;
  agent: string;
  model: string;
  start_ms: number;
  duration_ms: number | null;
  queue_ms: number;
  prefill_ms: number;
  decode_ms: number;
  input_tokens: number;
  cached_tokens: number;
  output_tokens: number;
  attempt: number;
  error: string | null;
  links: string[];
  segments: Segment[];
}

export interface Log {
  at_ms: number;
  level: string;
  event: string;
  fields: Record<string, unknown>;
  span?: string | null;
}

export interface Spending {
  agent: string;
  operation: string;
  model: string;
  count: number;
  errors: number;
  total_s: number;
  own_s: number | null;
  queue_s: number;
  prefill_s: number;
  decode_s: number;
  input_tokens: number;
  cached_tokens: number;
  output_tokens: number;
  p50_s: number;
  p95_s: number;
}

/** Of the run's earliest `spans` spans. */
export interface RunSpending {
  spans: number;
  spending: Spending[];
}

export interface RunDetail {
  run: Run;
  rows: Row[];
  logs: Log[];
  spending: Spending[];
  truncated: boolean;
}

export interface Span {
  id: string;
  parent: string | null;
  name: string;
  kind: number;
  start_unix_ms: number;
  duration_ms: number | null;
  status: number;
  status_message: string;
  attributes: Record<string, unknown>;
  events: { name: string; unix_ms: number; attributes: Record<string, unknown> }[];
  links: string[];
}

export interface Estimate {
  point: number;
  low: number;
  high: number;
}

export interface Saving {
  latency_s: Estimate | null;
  latency_p95_s: Estimate | null;
  tokens: Estimate | null;
  model_s: Estimate | null;
  usd: Estimate | null;
}

export type FindingState =
  | "candidate" | "open" | "shadow" | "canary" | "applied" | "verified" | "refuted" | "dismissed" | "gone";

export interface Finding {
  id: string;
  pattern: string;
  title: string;
  cohort: string;
  subject: string;
  state: FindingState;
  grade: "A" | "B" | "C";
  support: number;
  required: number;
  support_unit: string;
  evidence_traces: string[];
  evidence_spans: string[];
  prevalence: number | null;
  saving: Saving | null;
  factor: number;
  assumptions: string[];
  remedy: { text: string; proposal: { action: { kind: string; [more: string]: unknown }; target: string; agent: string | null } | null };
  quality_risk: "none" | "low" | "needs-eval";
  realised: { saving: Saving; runs: [number, number]; failed: [number, number]; prediction_error: number | null } | null;
  note: string;
}

export interface TypeCard {
  name: string;
  version: number;
  json_schema: Schema;
}

export interface Schema {
  type?: string | string[];
  title?: string;
  description?: string;
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  enum?: unknown[];
  default?: unknown;
  anyOf?: Schema[];
  discriminator?: { mapping: Record<string, string> };
  $ref?: string;
  $defs?: Record<string, Schema>;
}

export interface HandlerCard {
  name: string;
  description: string;
  input: TypeCard;
  output: TypeCard;
}

export interface AgentCard {
  name: string;
  version: string;
  description: string;
  handlers: HandlerCard[];
  topics: string[];
  model: string | null;
  slots: number;
  /** Part of the observability system, and nobody to chat with. */
  observes: boolean;
}

export interface NodeCard {
  node: string;
  kind: string;
  host: string;
  pid: number;
  version: string;
  agents: string[];
  models: string[];
  started_unix_ms: number;
}

export interface Directory {
  nodes: NodeCard[];
  agents: AgentCard[];
}
