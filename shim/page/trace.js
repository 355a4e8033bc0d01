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

  // The registrar has put each span below its parent, and says where in the trace it lies.
  draw({ spans, duration_ms, left_out }) {
    if (!spans.length) return this.waterfall.replaceChildren(el("p", { class: "empty" }, "It has no spans."));
    this.root = spans[0];
    const whole = Math.max(duration_ms, 0.001);
    text(this.title, this.root.name || "Trace");
    text(
      this.where,
      `${plural(spans.length + left_out, "span")} · ${milliseconds(whole)} · started ${clock(this.root.started)} · ${this.id}`,
    );
    this.buttons = spans.map((span) => this.row(span, whole));
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
      left_out ? el("p", { class: "empty" }, `and ${left_out} more`) : "",
    );
    this.choose(this.root, this.buttons[0]);
    this.linkBack();
  }

  linkBack() {
    const name = this.root?.service;
    const service = name && this.services?.find((each) => each.service === name);
    if (!service) return;
    redraw(this.element.querySelector(".back"), [service.id], () => [
      el("a", { href: last.list }, "All services"),
      el("a", { href: `#/service/${encodeURIComponent(service.id)}` }, service.service),
    ]);
  }

  row(span, whole) {
    const bar = el("i", { class: "bar", "data-level": span.error ? "bad" : null });
    bar.style.left = `${(span.offset_ms / whole) * 100}%`;
    bar.style.width = `${Math.max(0.4, (span.duration_ms / whole) * 100)}%`;
    const name = el("span", { class: "name" }, el("b", {}, span.service || "?"), " ", span.name);
    name.style.paddingInlineStart = `${Math.min(span.depth, 12) * 14}px`;
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
