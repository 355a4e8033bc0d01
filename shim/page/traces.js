// A service's last traces: those that the registrar keeps, and the way to a collector's own page.

import { el, redraw } from "./dom.js";
import { clock, milliseconds, plural } from "./format.js";
import { Polling, Refused } from "./poll.js";
import { toTrace } from "./route.js";

const EVERY = 4; // seconds
const SHOWN = 20;

export class Traces {
  constructor() {
    this.outside = el("p", { class: "quiet" });
    this.content = el("div");
    this.element = el(
      "section",
      { class: "card traces", "aria-labelledby": "traces-title", hidden: true },
      el("h2", { id: "traces-title" }, "Last traces"),
      this.outside,
      this.content,
    );
    this.polling = null;
    this.name = null;
  }

  leave() {
    this.polling?.stop();
  }

  show(service, { page }) {
    const url = collectorsPage(page?.traces_url, service);
    redraw(this.outside, url, () =>
      url
        ? el(
            "a",
            { href: url, rel: "noreferrer", target: "_blank" },
            `All traces of ${service.service}, at ${new URL(url).host}`,
          )
        : null,
    );
    this.outside.hidden = !url;
    this.element.hidden = service.protocol === "udp" || service.mode === "tcp";
    if (this.element.hidden) return;
    if (!page?.local_traces) {
      this.polling?.stop();
      this.polling = this.name = null;
      redraw(this.content, "off", howToTurnOn);
    } else if (this.name !== service.service) this.follow(service.service);
  }

  follow(name) {
    this.polling?.stop();
    this.name = name;
    this.polling = new Polling(`traces?service=${encodeURIComponent(name ?? "")}&limit=${SHOWN}`, {
      every: () => EVERY,
      took: ({ traces }) => redraw(this.content, traces, () => listed(traces)),
      missed: (error) =>
        error instanceof Refused && error.status === 404 && redraw(this.content, "off", howToTurnOn),
    });
    this.polling.start();
  }
}

// Only to the web, whatever the configuration's text is made into.
export function collectorsPage(pattern, service) {
  if (!pattern) return null;
  const named = { service: service.service ?? "", environment: service.environment ?? "" };
  try {
    const url = new URL(
      pattern.replace(/\{(service|environment)\}/g, (_, key) => encodeURIComponent(named[key])),
    );
    return url.protocol === "http:" || url.protocol === "https:" ? url.href : null;
  } catch {
    return null;
  }
}

function howToTurnOn() {
  return el(
    "p",
    { class: "quiet" },
    "The registrar keeps no traces. With ",
    el("code", {}, "tracing: {local: true}"),
    " in ",
    el("code", {}, "/etc/envoy-docker-shim.yaml"),
    " it keeps the last ones, and they are shown here.",
  );
}

function listed(traces) {
  if (!traces.length) return el("p", { class: "quiet" }, "No trace of this service yet: make a request.");
  const longest = Math.max(...traces.map((trace) => trace.duration_ms), 0.001);
  return el(
    "table",
    { class: "plain tracelist" },
    el(
      "thead",
      {},
      el(
        "tr",
        {},
        ["Started", "Request", "Duration", "Spans"].map((title) =>
          el("th", { scope: "col", class: title === "Spans" ? "number" : null }, title),
        ),
      ),
    ),
    el(
      "tbody",
      {},
      traces.map((trace) => row(trace, longest)),
    ),
  );
}

function row(trace, longest) {
  const bar = el("i", { class: "bar", "aria-hidden": "true" });
  bar.style.width = `${Math.max(1, (trace.duration_ms / longest) * 100)}%`;
  const bad = trace.error;
  return el(
    "tr",
    { "data-level": bad ? "bad" : null },
    el("td", {}, el("time", { datetime: trace.started }, clock(trace.started))),
    el(
      "td",
      { class: "what" },
      el("a", { href: toTrace(trace.id) }, trace.name || trace.id),
      bad ? el("span", { class: "badge", "data-state": "rejected" }, trace.status || "no answer") : null,
    ),
    el(
      "td",
      { class: "long" },
      el("span", {}, milliseconds(trace.duration_ms)),
      el("span", { class: "track" }, bar),
    ),
    el(
      "td",
      { class: "number" },
      plural(typeof trace.spans === "number" ? trace.spans : trace.spans.length, "span"),
    ),
  );
}
