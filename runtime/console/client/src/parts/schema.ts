/** A message's JSON schema as fields that a person can fill in. */

import type { Schema } from "../types";

export interface Field {
  name: string;
  kind: "text" | "number" | "integer" | "boolean" | "choice" | "json";
  choices: string[];
  required: boolean;
  hint: string;
  /** What stands there at the beginning, as text. */
  initial: string;
}

/** The fields of an object; whatever is no plain value is written as JSON. */
export function fields(schema: Schema): Field[] {
  const required = new Set(schema.required ?? []);
  return Object.entries(schema.properties ?? {}).map(([name, property]) => {
    const plain = plainOf(property, schema);
    const choices = plain.enum?.filter((each): each is string => typeof each === "string") ?? [];
    return {
      name, kind: kindOf(plain, choices), choices, required: required.has(name),
      hint: property.description ?? plain.description ?? "",
      initial: property.default === undefined || property.default === null ? ""
        : typeof property.default === "string" ? property.default : JSON.stringify(property.default),
    };
  });
}

/** The message that was filled in; fields left empty are left out. Raises an Error that names the field. */
export function message(all: readonly Field[], filled: Readonly<Record<string, string>>): Record<string, unknown> {
  const made: Record<string, unknown> = {};
  for (const { name, kind, required } of all) {
    const text = filled[name] ?? "";
    if (text === "" && !(required && kind === "text")) {
      if (required) throw new Error(`${name} is missing`);
      continue;
    }
    made[name] = valueOf(name, kind, text);
  }
  return made;
}

/** Names that people give to what is said, likeliest first. */
const SAID = ["text", "message", "question", "prompt", "input", "query", "content", "topic", "task"];

/** Which field to talk into, and what else has to be filled in; null where the message is nothing to say. */
export function talk(schema: Schema): { field: string; others: Field[] } | null {
  const all = fields(schema);
  const needed = all.filter((each) => each.required);
  const texts = (needed.length ? needed : all).filter((each) => each.kind === "text").map((each) => each.name);
  const field = SAID.find((name) => texts.includes(name)) ?? (texts.length === 1 ? texts[0] : undefined);
  const others = needed.filter((each) => each.name !== field);
  return field === undefined || others.some((each) => each.kind === "json") ? null : { field, others };
}

function kindOf(plain: Schema, choices: string[]): Field["kind"] {
  if (choices.length) return "choice";
  if (plain.type === "string") return "text";
  return plain.type === "number" || plain.type === "integer" || plain.type === "boolean" ? plain.type : "json";
}

/** Follows a reference, and the one alternative of a value that may be null. */
function plainOf(property: Schema, whole: Schema): Schema {
  const name = property.$ref?.match(/^#\/(?:\$defs|components\/schemas)\/(.+)$/)?.[1];
  if (name) return whole.$defs?.[name] ?? property;
  const some = property.anyOf?.filter((each) => each.type !== "null") ?? [];
  return some.length === 1 ? plainOf(some[0]!, whole) : property;
}

function valueOf(name: string, kind: Field["kind"], text: string): unknown {
  if (kind === "text" || kind === "choice") return text;
  if (kind === "boolean") return text === "true";
  if (kind === "json") {
    try {
      return JSON.parse(text);
    } catch {
      throw new Error(`${name} is no JSON`);
    }
  }
  const number = Number(text);
  if (!Number.isFinite(number) || (kind === "integer" && !Number.isInteger(number))) {
    throw new Error(`${name} is ${JSON.stringify(text)}, expected ${kind === "integer" ? "a whole number" : "a number"}`);
  }
  return number;
}
