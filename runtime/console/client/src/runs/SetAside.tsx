/** That there was a store before this one, which could not be read. */

import type { ReactNode } from "react";

import { useData } from "../api";

export function SetAside(): ReactNode {
  const file = useData<{ set_aside: string[] }>("/api/health").data?.set_aside[0];
  return file === undefined ? null : (
    <p className="note bad" role="status">
      The store was damaged, and a new one was begun: what was recorded before is not here. The damaged one is kept beside it
      as <code>{file}</code>; this note goes when that file does.
    </p>
  );
}
