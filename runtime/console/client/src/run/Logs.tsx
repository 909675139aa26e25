import type { ReactNode } from "react";

import type { Log } from "../types";
import { span, text } from "../words";

/** What was logged, in order; a log that names a span leads there. */
export function Logs({ logs, onJump }: { logs: Log[]; onJump?: (id: string) => void }): ReactNode {
  return (
    <ul className="logs mono">
      {logs.map((log, n) => (
        <li key={n}>
          <span className="soft">{span(log.at_ms)}</span> <span className={log.level}>{log.level}</span>{" "}
          {log.span && onJump
            ? <button type="button" className="inline" onClick={() => onJump(log.span!)}>{log.event}</button>
            : log.event}{" "}
          <span className="soft">{Object.entries(log.fields).map(([k, v]) => `${k}=${text(v)}`).join(" ")}</span>
        </li>
      ))}
    </ul>
  );
}
