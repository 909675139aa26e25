/** Small things that every view is made of. */

import type { ReactNode } from "react";

import type { Loaded } from "../api";
import { stroke } from "./stroke";

export const StatusBadge = ({ name }: { name: string }): ReactNode => <span className={`status ${name}`}>{name}</span>;

/** A column: its heading, and `n` for numbers or `wide` for text that may break. */
export type Column = [name: string, kind?: "n" | "wide"];

/** Wide tables scroll in their own box, which the keyboard can reach. */
export function Table({ name, columns, rows, keys }: {
  name: string; columns: Column[]; rows: ReactNode[][]; keys?: string[];
}): ReactNode {
  return (
    <div className="scroll" role="region" aria-label={name} tabIndex={0}>
      <table>
        <thead>
          <tr>{columns.map(([heading, kind], at) => <th key={at} scope="col" className={kind}>{heading}</th>)}</tr>
        </thead>
        <tbody>
          {rows.map((cells, n) => (
            <tr key={keys?.[n] ?? n}>
              {cells.map((cell, at) => <td key={at} className={columns[at]?.[1]}>{cell}</td>)}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** What is shown instead of data: that it is coming, why it is not, or that this server has none. */
export function Waiting({ of: { error, missing } }: { of: Pick<Loaded<unknown>, "error" | "missing"> }): ReactNode {
  if (missing) return <p className="empty">This server does not offer this.</p>;
  return error ? <p className="note bad" role="alert">{error.message}</p> : <p className="soft">loading…</p>;
}

/** A list of choices with its label. */
export function Select({ label, value, choices, onChange }: {
  label: string; value: string; choices: readonly (readonly [value: string, name: string])[]; onChange: (value: string) => void;
}): ReactNode {
  return (
    <select aria-label={label} value={value} onChange={(event) => onChange(event.target.value)}>
      {choices.map(([each, name]) => <option key={each} value={each}>{name}</option>)}
    </select>
  );
}

/** A line of numbers, small enough for a heading; null, where nothing is known, is a gap. The words say what it shows. */
export function Sparkline({ values, label }: { values: readonly (number | null)[]; label: string }): ReactNode {
  return (
    <svg className="spark" width="120" height="26" viewBox="0 0 120 26" role="img" aria-label={label}>
      <path d={stroke(values)} />
    </svg>
  );
}
