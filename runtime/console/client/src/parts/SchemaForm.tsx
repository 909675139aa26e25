/** A form made of a handler's schema. */

import { useState, type FormEvent, type ReactNode } from "react";

import type { Schema } from "../types";
import { fields, message, type Field } from "./schema";

export function SchemaForm({ schema, words, onSend }: {
  schema: Schema; words: string; onSend: (message: Record<string, unknown>) => Promise<void>;
}): ReactNode {
  const all = fields(schema);
  const [filled, setFilled] = useState<Record<string, string>>(() =>
    Object.fromEntries(all.map((each) => [each.name, each.initial])));
  const [problem, setProblem] = useState("");
  const [busy, setBusy] = useState(false);
  const send = async (event: FormEvent): Promise<void> => {
    event.preventDefault();
    setBusy(true);
    try {
      await onSend(message(all, filled));
      setProblem("");
    } catch (error) {
      setProblem((error as Error).message);
    }
    setBusy(false);
  };
  return (
    <form className="form" onSubmit={(event) => void send(event)}>
      {all.map((each) => (
        <label key={each.name}>
          <span>{each.name}{each.required ? "" : " (optional)"}{each.hint && <small> {each.hint}</small>}</span>
          <Input field={each} value={filled[each.name] ?? ""} onChange={(text) => setFilled({ ...filled, [each.name]: text })} />
        </label>
      ))}
      {problem && <p className="error" role="alert">{problem}</p>}
      <button type="submit" disabled={busy}>{words}</button>
    </form>
  );
}

function Input({ field: { kind, choices, required }, value, onChange }: {
  field: Field; value: string; onChange: (text: string) => void;
}): ReactNode {
  if (kind === "choice" || kind === "boolean") {
    const offered = kind === "boolean" ? ["true", "false"] : choices;
    return (
      <select value={value} onChange={(event) => onChange(event.target.value)}>
        {["", ...offered].map((each) => <option key={each}>{each}</option>)}
      </select>
    );
  }
  if (kind === "text" || kind === "json") {
    return (
      <textarea rows={kind === "json" ? 3 : 2} className={kind === "json" ? "mono" : ""} value={value} required={required}
        placeholder={kind === "json" ? "JSON" : ""} onChange={(event) => onChange(event.target.value)} />
    );
  }
  return (
    <input type="number" step={kind === "integer" ? 1 : "any"} value={value} required={required}
      onChange={(event) => onChange(event.target.value)} />
  );
}
