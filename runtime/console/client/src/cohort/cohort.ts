/** Which recorded runs are meant, as the address has it and as the server is asked. */

export const FIELDS = ["workflow", "agent", "model", "status", "arm", "finding", "since", "until"] as const;

export type Cohort = Readonly<Partial<Record<(typeof FIELDS)[number], string>>>;

/** The parameters of an address that say it; of two cohorts in one address each has its `prefix`. */
export function cohort(query: URLSearchParams, prefix = ""): Cohort {
  return Object.fromEntries(FIELDS.map((name) => [name, query.get(prefix + name) ?? ""]).filter(([, value]) => value));
}

/** As the API takes it: times, which people write as their clock shows them, are Unix milliseconds. */
export function asked({ since, until, ...same }: Cohort): Record<string, string | number> {
  return { ...same, ...unix("since_unix_ms", since), ...unix("until_unix_ms", until) };
}

/** A cohort in a few words. */
export function said(of: Cohort): string {
  const words = FIELDS.flatMap((name) => (of[name] ? [`${name} ${of[name]!.replace("T", " ")}`] : []));
  return words.join(", ") || "all runs";
}

function unix(name: string, at: string | undefined): Record<string, number> {
  const ms = at ? new Date(at).getTime() : NaN;
  return Number.isFinite(ms) ? { [name]: ms } : {};
}
