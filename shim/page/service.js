// One service: what it is, how it does, its last traces and its last lines of the access log.

import { Facts } from "./facts.js";
import { attribute, el, text } from "./dom.js";
import { addresses } from "./format.js";
import { LogLines } from "./log.js";
import { Plots } from "./plots.js";
import { last } from "./route.js";
import { Traces } from "./traces.js";

export class ServiceView {
  constructor(id) {
    this.id = id;
    this.name = el("h1", { tabindex: -1 });
    this.environment = el("span", { class: "env" });
    this.state = el("span", { class: "badge" });
    this.where = el("p", { class: "where" });
    this.why = el("p", { class: "why", hidden: true });
    this.missing = el("p", { class: "empty", hidden: true });
    this.plots = new Plots(id);
    this.facts = new Facts(id);
    this.traces = new Traces();
    this.log = new LogLines(id);
    this.content = el(
      "div",
      { class: "content" },
      this.why,
      this.plots.element,
      this.facts.element,
      this.traces.element,
      this.log.element,
    );
    this.element = el(
      "article",
      { class: "one" },
      el("p", { class: "back" }, el("a", { href: last.list }, "All services")),
      el("header", {}, el("div", { class: "heading" }, this.name, this.environment, this.state), this.where),
      this.missing,
      this.content,
    );
    text(this.name, id);
    this.parts = [this.plots, this.facts, this.traces, this.log];
    this.started = false;
  }

  leave() {
    for (const part of this.parts) part.leave();
  }

  show(data) {
    const service = data.services.find(({ id }) => id === this.id);
    this.missing.hidden = Boolean(service);
    this.started ||= Boolean(service);
    attribute(this.element, "data-gone", service ? null : this.started ? "now" : "never");
    if (!service)
      return text(this.missing, "No such service is published now. It may come back under this name.");
    text(this.name, service.service || service.id);
    text(this.environment, service.environment ?? "");
    text(this.state, service.state);
    attribute(this.state, "data-state", service.state);
    text(
      this.where,
      [`${service.protocol} ${addresses(service.addresses)}`, service.container, service.image]
        .filter(Boolean)
        .join(" · "),
    );
    this.why.hidden = !service.why;
    text(this.why, service.why ?? "");
    for (const part of this.parts) part.show(service, data);
  }

  key(event) {
    if (event.key !== "Escape") return false;
    location.hash = last.list;
    return true;
  }
}
