// One trace: its spans as a waterfall, and the attributes of the one that is chosen.

import { el, redraw, text } from "./dom.js";
import { clock, milliseconds, plural } from "./format.js";
import { read } from "./poll.js";
import { last } from "./route.js";

const TRIES = 4;
const PAUSE = 2000; // ms

export class TraceView {
  constructor(id) {
    this.id = id;
    this.title = el("h1", {}, "Trace");
    this.where = el("p", { class: "where" });
    this.waterfall = el("div", { class: "waterfall" });
    this.chosen = el("section", { class: "card", "aria-live": "polite", hidden: true });
    this.element = el(
      "article",
      { class: "one trace" },
      el("p", { class: "back" }, el("a", { href: last.list }, "All services")),
      el("header", {}, el("div", { class: "heading" }, this.title), this.where),
      this.waterfall,
      this.chosen,
    );
    this.gone = new AbortController();
    this.tries = 0;
    this.load();
  }

  leave() {
    this.gone.abort();
  }

  show(data) {
    this.services = data.services;
    this.linkBack();
  }

  key(event) {
    if (event.key !== "Escape") return false;
    if (window.history.length > 1) window.history.back();
    else location.hash = last.list;
    return true;
  }

  async load() {
    text(this.where, this.id);
    try {
      this.draw(await read(`traces/${encodeURIComponent(this.id)}`, this.gone.signal));
    } catch (error) {
      if (this.gone.signal.aborted) return;
      // A span comes some seconds after its request, and its line of the log before it.
      if (error.status === 404 && this.tries++ < TRIES)
        setTimeout(() => this.gone.signal.aborted || this.load(), PAUSE);
      this.waterfall.replaceChildren(
        el(
          "p",
          { class: "empty" },
          error.status === 404
            ? "The registrar does not have this trace: it keeps only the last ones, and new ones come some seconds later."
            : `It cannot be read: ${error.message}`,
        ),
      );
    }
  }

  draw({ spans }) {
    if (!spans.length) return this.waterfall.replaceChildren(el("p", { class: "empty" }, "It has no spans."));
    this.spans = ordered(spans);
    const starts = spans.map(startOf);
    const began = Math.min(...starts);
    const whole = Math.max(...spans.map((span, i) => starts[i] - began + span.duration_ms), 0.001);
    const root = this.spans[0].span;
    text(this.title, root.name || "Trace");
    text(
      this.where,
      `${plural(spans.length, "span")} · ${milliseconds(whole)} · started ${clock(root.started)} · ${this.id}`,
    );
    this.buttons = this.spans.map(({ span, depth }) => this.row(span, depth, began, whole));
    this.waterfall.replaceChildren(
      el(
        "div",
        { class: "scale", "aria-hidden": "true" },
        [0, 0.25, 0.5, 0.75, 1].map((share) => el("span", {}, share ? milliseconds(whole * share) : "0")),
      ),
      el(
        "ol",
        {},
        this.buttons.map((button) => el("li", {}, button)),
      ),
    );
    this.choose(root, this.buttons[0]);
    this.linkBack();
  }

  linkBack() {
    const name = this.spans?.[0].span.service;
    const service = name && this.services?.find((each) => each.service === name);
    if (!service) return;
    redraw(this.element.querySelector(".back"), [service.id], () => [
      el("a", { href: last.list }, "All services"),
      el("a", { href: `#/service/${encodeURIComponent(service.id)}` }, service.service),
    ]);
  }

  row(span, depth, began, whole) {
    const bar = el("i", { class: "bar", "data-level": span.error ? "bad" : null });
    bar.style.left = `${((startOf(span) - began) / whole) * 100}%`;
    bar.style.width = `${Math.max(0.4, (span.duration_ms / whole) * 100)}%`;
    const name = el("span", { class: "name" }, el("b", {}, span.service || "?"), " ", span.name);
    name.style.paddingInlineStart = `${Math.min(depth, 12) * 14}px`;
    const button = el(
      "button",
      { type: "button", class: "span", "aria-pressed": "false", onclick: () => this.choose(span, button) },
      name,
      el("span", { class: "track", "aria-hidden": "true" }, bar),
      el("span", { class: "number" }, milliseconds(span.duration_ms)),
    );
    return button;
  }

  choose(span, button) {
    for (const each of this.buttons) each.setAttribute("aria-pressed", String(each === button));
    const facts = [
      ["Service", span.service],
      ["Started", clock(span.started)],
      ["Duration", milliseconds(span.duration_ms)],
      ["Status", span.status],
      ["Span", span.id],
    ];
    const more = Object.entries(span.attributes ?? {});
    this.chosen.hidden = false;
    this.chosen.replaceChildren(
      el("h2", {}, span.name || span.id),
      el(
        "dl",
        { class: "pairs" },
        [...facts, ...more]
          .filter(([, value]) => value !== null && value !== undefined && value !== "")
          .map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, String(value)))),
      ),
    );
  }
}

// A moment in ms; the digits below a millisecond are kept, for spans are short.
function startOf({ started }) {
  const below = /\.\d{3}(\d+)/.exec(started);
  return Date.parse(started) + (below ? Number(`0.${below[1]}`) : 0);
}

// Each span below its parent, in the order of their beginnings: [{span, depth}].
function ordered(spans) {
  const known = new Set(spans.map(({ id }) => id));
  const below = new Map();
  for (const span of spans) {
    const parent = known.has(span.parent) && span.parent !== span.id ? span.parent : "";
    below.set(parent, [...(below.get(parent) ?? []), span]);
  }
  const found = [];
  const walk = (parent, depth) => {
    for (const span of (below.get(parent) ?? []).sort((a, b) => startOf(a) - startOf(b))) {
      found.push({ span, depth });
      walk(span.id, depth + 1);
    }
  };
  walk("", 0);
  // Those that are each other's parents, as nobody's span should be, have no root.
  const reached = new Set(found.map(({ span }) => span));
  for (const span of spans) if (!reached.has(span)) found.push({ span, depth: 0 });
  return found;
}
