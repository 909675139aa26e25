/** Questions to the store that no view answers. It can only be read. */

import { useState, type ReactNode } from "react";

import { post } from "../api";
import { Table } from "../parts/Parts";
import { refine, useRoute } from "../route";
import { count, span, text } from "../words";

interface Answer {
  columns: string[];
  rows: unknown[][];
  truncated: boolean;
  elapsed_ms: number;
}

const FIRST = "SELECT run, title, status, (last_ns - start_ns) / 1e6 AS ms FROM runs ORDER BY start_ns DESC LIMIT 100";
const TABLES = "SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY name";
const SHOWN = 1000; // more rows than that make a page slow
const SAVED = 10_000; // as many as the server gives

export default function Sql(): ReactNode {
  const { query } = useRoute();
  const [sql, setSql] = useState(query.get("q") ?? FIRST);
  const [answer, setAnswer] = useState<Answer | null>(null);
  const [problem, setProblem] = useState("");
  const [cut, setCut] = useState("");
  const [busy, setBusy] = useState(false);
  const attempt = async (work: () => Promise<void>): Promise<void> => {
    setBusy(true);
    setCut("");
    try {
      await work();
      setProblem("");
    } catch (error) {
      setProblem((error as Error).message);
    }
    setBusy(false);
  };
  const ask = (asked: string): Promise<void> => attempt(async () => {
    setSql(asked);
    refine({ q: asked });
    setAnswer((await (await post("/api/sql", { query: asked, limit: SHOWN })).json()) as Answer);
  });
  const download = (): Promise<void> => attempt(async () => {
    const said = await post("/api/sql", { query: sql, limit: SAVED, format: "csv" });
    if (said.headers.has("x-antiphon-truncated")) setCut(`The file is not all of it: an answer ends at ${count(SAVED)} rows or 16 MB.`);
    const file = URL.createObjectURL(await said.blob());
    Object.assign(document.createElement("a"), { href: file, download: "antiphon.csv" }).click();
    URL.revokeObjectURL(file);
  });
  return (
    <>
      <h1>SQL</h1>
      <textarea className="mono" rows={5} aria-label="query" spellCheck={false} value={sql}
        onChange={(event) => setSql(event.target.value)}
        onKeyDown={(event) => { if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) void ask(sql); }} />
      <p className="actions">
        <button type="button" disabled={busy} onClick={() => void ask(sql)}>ask (Ctrl Enter)</button>
        <button type="button" disabled={busy} onClick={() => void download()}>as CSV</button>
        <button type="button" disabled={busy} onClick={() => void ask(TABLES)}>which tables</button>
      </p>
      {problem && <p className="note bad" role="alert">{problem}</p>}
      {cut && <p className="note" role="status">{cut}</p>}
      {answer && (
        <>
          <p className="soft" role="status">
            {count(answer.rows.length)} rows in {span(answer.elapsed_ms)}{answer.truncated ? `; there are more; the file holds up to ${count(SAVED)}` : ""}
          </p>
          <Table name="Answer" columns={answer.columns.map((name) => [name])}
            rows={answer.rows.map((row) => row.map((cell) => <span className="mono">{cell === null ? "" : text(cell).slice(0, 400)}</span>))} />
        </>
      )}
    </>
  );
}
