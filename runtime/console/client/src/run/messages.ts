/** Prompts and replies as they were captured: JSON text of the GenAI conventions. */

export interface Said {
  role: string;
  text: string;
  /** A tool's name, where the part is a call or its result. */
  tool: string | null;
}

/** Every part of every message; text that is not the conventions' JSON is one message as it stands. */
export function said(captured: unknown, role: string): Said[] {
  if (captured === undefined || captured === null || captured === "") return [];
  const value = typeof captured === "string" ? parsed(captured) : captured;
  if (!Array.isArray(value)) return [{ role, text: typeof value === "string" ? value : JSON.stringify(value), tool: null }];
  return value.flatMap((message) => {
    const { role: who, parts, content } = record(message);
    const by = typeof who === "string" ? who : role;
    if (!Array.isArray(parts)) return [{ role: by, text: words(content ?? message), tool: null }];
    return parts.map((part) => piece(by, record(part)));
  });
}

function piece(role: string, part: Record<string, unknown>): Said {
  const name = typeof part.name === "string" ? part.name : null;
  if (part.type === "tool_call") return { role, text: words(part.arguments), tool: name };
  if (part.type === "tool_call_response") return { role, text: words(part.response ?? part.result), tool: name ?? "result" };
  return { role, text: words(part.content ?? part.text ?? part), tool: null };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text; // cut to size, or not JSON from the start
  }
}

const record = (value: unknown): Record<string, unknown> =>
  typeof value === "object" && value !== null ? (value as Record<string, unknown>) : { content: value };

const words = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value, null, 1) ?? "");
