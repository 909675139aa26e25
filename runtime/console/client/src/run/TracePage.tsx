/** Evidence names traces: from there to the run, with the spans that were named. */

import { useEffect, type ReactNode } from "react";

import { useData } from "../api";
import { Waiting } from "../parts/Parts";
import { link, useRoute } from "../route";

export default function TracePage(): ReactNode {
  const { id, query } = useRoute();
  const found = useData<{ run: string }>(`/api/traces/${encodeURIComponent(id ?? "")}`);
  useEffect(() => {
    if (found.data) location.replace(link("runs", found.data.run, Object.fromEntries(query)));
  }, [found.data]);
  if (found.error) return <p className="note bad" role="alert">{found.error.message}</p>;
  return <Waiting of={found} />;
}
