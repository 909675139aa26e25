// The console's page. Data becomes text nodes only: nothing here assigns markup.

const page = document.getElementById("page");
const live = document.getElementById("live");

/** An element. `props` are attributes; `on…` are listeners; `css` is an object of styles. */
function h(tag, props, ...children) {
  const el = document.createElement(tag);
  for (const [key, value] of Object.entries(props ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) el.addEventListener(key.slice(2), value);
    else if (key === "css") Object.assign(el.style, value);
    else el.setAttribute(key, value === true ? "" : value);
  }
  el.append(...children.flat(9).filter((c) => c !== null && c !== undefined && c !== false && c !== ""));
  return el;
}

async function get(path) {
  const answer = await fetch(path, { headers: { accept: "application/json" } });
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(body.error?.message ?? `the console answered ${answer.status}`);
  return body;
}

// ---- words and numbers

const count = (n) => n.toLocaleString("en");
const some = (n) => (n ? count(n) : "");

function span(ms) {
  if (ms === null || ms === undefined) return "unfinished";
  if (ms < 1) return `${Math.round(ms * 1000)} µs`;
  if (ms < 9.95) return `${ms.toFixed(1)} ms`;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 59950) return `${(ms / 1000).toFixed(1)} s`;
  const s = Math.round(ms / 1000);
  return s < 3600 ? `${Math.floor(s / 60)} m ${String(s % 60).padStart(2, "0")} s`
    : `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} m`;
}

function when(ms) {
  const date = new Date(ms);
  const time = date.toLocaleTimeString("en-GB");
  return date.toDateString() === new Date().toDateString() ? time
    : `${date.toLocaleDateString("en-GB", { day: "numeric", month: "short" })} ${time}`;
}

const status = (name) => h("span", { class: `status ${name}` }, name);

function table(columns, rows) {
  return h("div", { class: "scroll" }, h("table", null,
    h("thead", null, h("tr", null, columns.map(([name, kind]) => h("th", { class: kind, scope: "col" }, name)))),
    h("tbody", null, rows.map((cells) => h("tr", null,
      cells.map((cell, n) => h("td", { class: columns[n][1] }, cell)))))));
}

function spendingTable(rows) {
  const timed = rows.some((r) => r.own_s !== null);
  const columns = [["agent"], ["work"], ["calls", "n"], ["total", "n"], ...(timed ? [["own", "n"]] : []),
    ["waited", "n"], ["prefill", "n"], ["decode", "n"], ["p95", "n"], ["tokens in", "n"], ["cached", "n"], ["out", "n"]];
  const time = (s) => (s ? span(s * 1000) : "");
  return table(columns, rows.map((r) => [
    r.agent || "–", r.operation === "process" ? "handler" : `${r.operation} ${r.model}`.trim(),
    r.errors ? h("span", { class: "error" }, `${count(r.count)} (${r.errors} failed)`) : count(r.count),
    time(r.total_s), ...(timed ? [time(r.own_s)] : []), time(r.queue_s), time(r.prefill_s), time(r.decode_s),
    time(r.p95_s), some(r.input_tokens), some(r.cached_tokens), some(r.output_tokens)]));
}

// ---- runs

async function runsPage(query) {
  const list = await get(`/api/runs?${query}`);
  const choose = (name, value) => {
    const next = new URLSearchParams(query);
    if (value) next.set(name, value); else next.delete(name);
    next.delete("after");
    location.hash = `#/runs?${next}`;
  };
  const field = (name, hint) => h("input", {
    type: "search", placeholder: hint, "aria-label": hint, value: query.get(name) ?? "",
    onchange: (event) => choose(name, event.target.value.trim()),
  });
  const states = ["", "queued", "running", "ok", "error", "cancelled"];
  const filters = h("div", { class: "filters" },
    h("select", { "aria-label": "status", onchange: (event) => choose("status", event.target.value) },
      states.map((s) => h("option", { value: s, selected: s === (query.get("status") ?? "") }, s || "any status"))),
    field("agent", "agent"), field("model", "model"));
  const next = new URLSearchParams(query);
  next.set("after", list.next ?? "");
  return [
    h("h1", null, "Runs"), filters,
    list.runs.length ? table(
      [["what", "wide"], ["status"], ["took", "n"], ["started", "n"], ["agents", "n"], ["spans", "n"], ["tokens in", "n"], ["out", "n"], ["run"]],
      list.runs.map((r) => [
        h("a", { href: `#/runs/${encodeURIComponent(r.run)}` }, r.title || "(no name)"),
        [status(r.status), r.errors ? h("span", { class: "error" }, ` ${r.errors} failed`) : null],
        span(r.duration_ms), when(r.start_unix_ms), some(r.agents.length), count(r.spans),
        some(r.input_tokens), some(r.output_tokens), h("span", { class: "mono soft" }, r.run.slice(0, 12))]))
      : h("p", { class: "empty" }, "No runs here. Start a system with ", h("code", null, "antiphon run"),
        " and submit a task; it appears by itself."),
    h("p", { class: "more" },
      query.get("after") ? h("a", { href: "#/runs" }, "newest") : null, " ",
      list.next ? h("a", { href: `#/runs?${next}` }, "older runs →") : null),
  ];
}

// ---- one run

const LEGEND = [["handler", "agent at work"], ["queue", "waiting in a queue"], ["call", "caller waiting"],
  ["prefill", "model reads"], ["decode", "model writes"], ["tool", "tool"]];

async function runPage(id) {
  const { run, rows, logs, spending, truncated } = await get(`/api/runs/${encodeURIComponent(id)}`);
  const fact = (name, value) => value ? h("li", null, h("b", null, value), ` ${name}`) : null;
  return [
    h("h1", null, run.title || "run", " ", status(run.status)),
    h("div", { class: "mono soft" }, run.run),
    h("ul", { class: "facts" },
      fact("", span(run.duration_ms)), fact("started", when(run.start_unix_ms)), fact("spans", count(run.spans)),
      fact("unfinished", some(run.unfinished)), fact("failed", some(run.errors)), fact("agents", some(run.agents.length)),
      fact("model calls", some(run.model_calls)), fact("tokens in", some(run.input_tokens)),
      fact("of them cached", some(run.cached_tokens)), fact("tokens out", some(run.output_tokens))),
    truncated ? h("p", { class: "note" }, `Only the earliest ${count(rows.length)} rows and the earliest logs are shown.`) : null,
    h("div", { class: "legend", "aria-hidden": "true" },
      LEGEND.map(([key, text]) => h("span", null, h("i", { class: `key ${key}` }), text))),
    waterfall(run, rows),
    logs.length ? [h("h2", null, "Logs"), h("ul", { class: "logs mono" }, logs.map((l) => h("li", null,
      h("span", { class: "soft" }, `${span(l.at_ms)}  `), h("span", { class: l.level }, l.level), ` ${l.event} `,
      h("span", { class: "soft" }, Object.entries(l.fields).map(([k, v]) => `${k}=${text(v)}`).join(" ")))))] : null,
    spending.length ? [h("h2", null, "Where time and tokens went"), spendingTable(spending)] : null,
  ];
}

function waterfall(run, rows) {
  const whole = Math.max(run.duration_ms, 0.001);
  const at = (ms) => `${Math.min(Math.max(ms / whole, 0), 1) * 100}%`;
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((part) =>
    h("span", { css: { left: at(part * whole) } }, part ? span(part * whole) : "0"));
  const lines = rows.map((row) => {
    const bars = row.segments.map((s) => h("span", {
      class: `bar ${s.part} ${row.work} ${row.duration_ms === null && s.part === "service" ? "unfinished" : ""}`,
      css: { left: at(s.start_ms), width: at(s.end_ms - Math.max(s.start_ms, 0)) },
    }));
    const tokens = row.input_tokens || row.output_tokens
      ? `${count(row.input_tokens)} → ${count(row.output_tokens)} tokens` : "";
    const notes = [tokens, row.queue_ms >= 1 ? `waited ${span(row.queue_ms)}` : "",
      row.attempt > 1 ? `attempt ${row.attempt}` : "",
      row.links.length ? `joins ${row.links.length}` : "", row.error ?? ""].filter(Boolean).join(" · ");
    const line = h("button", {
      type: "button", class: `row${row.error ? " failed" : ""}`, "aria-expanded": "false",
      title: `${row.label}${notes ? ` · ${notes}` : ""}`, onclick: () => toggle(line, row),
    },
    h("span", { class: "name", css: { paddingLeft: `${12 + Math.min(row.depth, 12) * 14}px` } }, row.label, h("small", null, notes)),
    h("span", { class: "track" }, bars),
    h("span", { class: "took" }, span(row.duration_ms)));
    return line;
  });
  return h("div", { class: "fall" },
    h("div", { class: "axis" }, h("span", null, "work"), h("span", { class: "track" }, ticks), h("span")), lines);
}

const text = (value) => (typeof value === "string" ? value : JSON.stringify(value));

async function toggle(line, row) {
  if (line.getAttribute("aria-expanded") === "true") {
    line.setAttribute("aria-expanded", "false");
    line.nextElementSibling.remove();
    return;
  }
  line.setAttribute("aria-expanded", "true");
  const box = h("div", { class: "details" }, h("p", { class: "soft" }, "loading…"));
  line.after(box);
  try {
    const spans = await Promise.all([row.id, row.caller].filter(Boolean).map((id) => get(`/api/spans/${id}`)));
    box.replaceChildren(...spans.flatMap(details));
  } catch (error) {
    box.replaceChildren(h("p", { class: "error" }, error.message));
  }
}

function details(s) {
  const pairs = Object.entries(s.attributes).sort(([a], [b]) => a.localeCompare(b));
  const list = (entries) => h("dl", { class: "mono" }, entries.map(([k, v]) => [h("dt", null, k), h("dd", null, text(v))]));
  return [
    h("h3", null, s.name),
    s.status_message ? h("p", { class: "error" }, s.status_message) : null,
    list([["span", s.id], ...(s.links.length ? [["continues", s.links.join("\n")]] : []),
      ["took", span(s.duration_ms)], ["started", new Date(s.start_unix_ms).toISOString()], ...pairs]),
    ...s.events.map((e) => h("div", null, h("h3", null, e.name), list(Object.entries(e.attributes)))),
  ].filter(Boolean);
}

// ---- findings

async function findingsPage() {
  const { findings } = await get("/api/findings");
  const estimate = (e, unit) => e && e.point > 0
    ? `${e.point.toPrecision(3)} ${unit} (${e.low.toPrecision(3)} to ${e.high.toPrecision(3)})` : null;
  return [
    h("h1", null, "Findings"),
    findings.length ? findings.map((f) => {
      const saving = f.state === "candidate" || !f.saving ? [] : [estimate(f.saving.latency_s, "s"),
        estimate(f.saving.model_s, "s of model time"), estimate(f.saving.tokens, "tokens")].filter(Boolean);
      return h("article", { class: "finding" },
        h("h2", null, h("span", { class: "soft" }, f.pattern.toUpperCase()), " ", f.title),
        h("p", null, status(f.state), ` support ${f.support} of ${f.required} ${f.support_unit}`,
          h("span", { class: "soft" }, ` · about ${f.subject} · cohort ${f.cohort} · grade ${f.grade}`,
            f.prevalence === null ? "" : ` · in ${Math.round(f.prevalence * 100)} % of its runs`)),
        saving.length ? h("p", { class: "saving" }, `would save a run ${saving.join(", ")}`) : null,
        h("p", null, f.remedy.text),
        f.assumptions.length ? h("p", { class: "soft" }, `assumes: ${f.assumptions.join("; ")}`) : null,
        f.evidence_traces.length ? h("p", { class: "mono soft" }, "evidence: ",
          f.evidence_traces.slice(0, 5).map((t) => [h("a", { href: `#/traces/${t}` }, t.slice(0, 12)), " "])) : null);
    }) : h("p", { class: "empty" }, "No findings yet. The logging agent speaks after a few runs of the same shape."),
  ];
}

// ---- agents

async function agentsPage() {
  const [{ nodes, agents }, health] = await Promise.all([get("/api/agents"), get("/api/health")]);
  const alive = new Map();
  for (const node of nodes) for (const name of node.agents) alive.set(name, [...(alive.get(name) ?? []), node.node]);
  const known = new Map(health.nodes.map((n) => [n.node, n]));
  const missing = health.nodes.reduce((sum, n) => sum + n.missing, 0);
  const dropped = health.nodes.reduce((sum, n) => sum + n.dropped, 0);
  return [
    h("h1", null, "Agents"),
    missing || dropped || health.rejected ? h("p", { class: "note" },
      `The record has holes: ${count(missing)} batches missing, ${count(dropped)} records dropped by nodes, ${count(health.rejected)} messages unreadable.`) : null,
    agents.length ? h("div", { class: "cards" }, agents.map((a) => h("section", { class: "card" },
      h("h3", null, a.name, " ", h("span", { class: `status ${alive.has(a.name) ? "ok" : "error"}` }, alive.has(a.name) ? "alive" : "no node")),
      h("p", { class: "soft" }, a.description || "(no description)"),
      a.handlers.map((x) => h("p", { class: "mono" }, `${a.name}.${x.name}(${x.input.name}) → ${x.output.name}`)),
      h("p", { class: "soft" }, [a.model ? `model ${a.model}` : null, `${a.slots} slots a node`,
        alive.has(a.name) ? `on ${alive.get(a.name).join(", ")}` : null].filter(Boolean).join(" · ")))))
      : h("p", { class: "empty" }, "No agents known. ", h("code", null, "antiphon run FILE.py:system"), " starts some."),
    h("h2", null, "Nodes"),
    nodes.length ? table([["node"], ["kind"], ["host"], ["pid", "n"], ["agents", "wide"], ["models"], ["up since", "n"], ["batches", "n"], ["missing", "n"], ["dropped", "n"]],
      nodes.map((n) => [h("span", { class: "mono" }, n.node), n.kind, n.host, String(n.pid), n.agents.join(", "), n.models.join(", "),
        when(n.started_unix_ms), some(known.get(n.node)?.batches), some(known.get(n.node)?.missing), some(known.get(n.node)?.dropped)]))
      : h("p", { class: "empty" }, "No node is alive."),
  ];
}

// ---- spending

async function spendingPage(query) {
  const windows = [["900", "15 minutes"], ["3600", "hour"], ["86400", "day"], ["604800", "week"]];
  const chosen = windows.some(([s]) => s === query.get("window_s")) ? query.get("window_s") : "3600";
  const { spending } = await get(`/api/spending?window_s=${chosen}`);
  return [
    h("h1", null, "Where time and tokens went"),
    h("div", { class: "filters" }, h("select", { "aria-label": "window", onchange: (e) => { location.hash = `#/spending?window_s=${e.target.value}`; } },
      windows.map(([s, name]) => h("option", { value: s, selected: s === chosen }, `last ${name}`)))),
    spending.length ? [spendingTable(spending),
      h("p", { class: "soft" }, "Seconds of work: what ran in parallel adds up. A handler's total includes what it waited for.")]
      : h("p", { class: "empty" }, "Nothing finished in this time."),
  ];
}

// ---- moving about

async function tracePage(id) {
  return runPage((await get(`/api/traces/${encodeURIComponent(id)}`)).run);
}

let shown = 0;

async function show() {
  const turn = ++shown;
  const [path, search] = location.hash.replace(/^#/, "").split("?");
  const query = new URLSearchParams(search ?? "");
  const [, name = "runs", id] = path.split("/");
  for (const link of document.querySelectorAll("nav a")) {
    const here = link.getAttribute("href") === `#/${name || "runs"}`;
    if (here) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  const open = new Set([...document.querySelectorAll(".row[aria-expanded=true]")].map((el) => el.title));
  try {
    const pages = { findings: findingsPage, agents: agentsPage, spending: () => spendingPage(query) };
    const work = name === "runs" && id ? runPage(decodeURIComponent(id)) : name === "traces" ? tracePage(id)
      : (pages[name] ?? (() => runsPage(query)))();
    const content = await work;
    if (turn !== shown) return; // another page was asked for meanwhile
    page.replaceChildren(...content.flat(9).filter(Boolean));
    for (const row of page.querySelectorAll(".row")) if (open.has(row.title)) row.click();
  } catch (error) {
    if (turn === shown) page.replaceChildren(h("p", { class: "note bad" }, error.message));
  }
}

function refreshSoon() {
  if (refreshSoon.timer || page.contains(document.activeElement?.closest("input, select"))) return;
  refreshSoon.timer = setTimeout(() => { refreshSoon.timer = null; show(); }, 700);
}

function follow() {
  const source = new EventSource("/api/events");
  let spans = 0;
  const say = (on, words) => { live.classList.toggle("on", on); live.textContent = words; };
  source.onopen = () => say(true, "live");
  source.onerror = () => say(false, "reconnecting");
  source.addEventListener("runs", (event) => {
    const news = JSON.parse(event.data);
    spans += news.spans;
    say(true, `live · ${count(spans)} new spans`);
    const [, name = "runs", id] = location.hash.replace(/^#/, "").split("?")[0].split("/");
    const mine = news.runs.some((r) => r.run === id);
    if ((name || "runs") === "runs" ? !id ? !location.hash.includes("after=") : mine : false) refreshSoon();
  });
  source.addEventListener("findings", () => { if (location.hash.startsWith("#/findings")) refreshSoon(); });
  source.addEventListener("reset", refreshSoon);
}

addEventListener("hashchange", () => { show().then(() => { scrollTo(0, 0); page.focus({ preventScroll: true }); }); });
show();
follow();
