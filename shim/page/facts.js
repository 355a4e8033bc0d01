// What a service is: its ports and who serves them, its container, its labels as applied, and what it did in all.

import { el, redraw } from "./dom.js";
import { bytes, count, known } from "./format.js";
import { Polling } from "./poll.js";

const EVERY = 10; // seconds: this changes rarely

export class Facts {
  constructor(id) {
    this.ports = el("section", { class: "card ports", "aria-labelledby": "ports-title" });
    this.labels = el("section", { class: "card", "aria-labelledby": "labels-title" });
    this.container = el("section", { class: "card", "aria-labelledby": "container-title" });
    this.total = el("section", { class: "card", "aria-labelledby": "total-title" });
    this.element = el("div", { class: "cards" }, this.ports, this.container, this.labels, this.total);
    this.bindings = null;
    this.service = null;
    this.polling = new Polling(`bindings?id=${encodeURIComponent(id)}`, {
      every: () => EVERY,
      took: (bindings) => {
        this.bindings = bindings;
        this.draw();
      },
    });
    this.polling.start();
  }

  leave() {
    this.polling.stop();
  }

  show(service) {
    this.service = service;
    this.draw();
  }

  draw() {
    if (!this.service) return;
    const bindings = this.bindings ?? [];
    redraw(this.ports, bindings.map(shownOfPort), (ports) => [
      el("h2", { id: "ports-title" }, "Ports"),
      ports.length ? table(ports) : waiting(),
    ]);
    redraw(this.labels, bindings[0]?.labels ?? null, (labels) => [
      el("h2", { id: "labels-title" }, "Labels, as applied"),
      labels ? pairs(Object.entries(labels)) : waiting(),
    ]);
    redraw(this.container, ofContainer(this.service, bindings), (facts) => [
      el("h2", { id: "container-title" }, "Container"),
      pairs(facts),
    ]);
    redraw(this.total, ofTotal(this.service), (facts) => [
      el(
        "h2",
        { id: "total-title" },
        this.service.protocol === "udp" ? "Since the relay began" : "Since Envoy's start",
      ),
      pairs(facts),
    ]);
  }
}

function address({ address, port }) {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

function shownOfPort(binding) {
  const reasons = Object.entries(binding.rejected_by).map(
    ([node, reason]) => `rejected by Envoy ${node}: ${reason}`,
  );
  const network = binding.network ?? {};
  if (network.why) reasons.push(`on the network by ${network.by}: ${network.why}`);
  if (binding.client_address && !binding.client_address.kept)
    reasons.push(`clients' addresses are not kept: ${binding.client_address.why}`);
  if (binding.problem) reasons.push(binding.problem);
  const served = binding.acknowledged_by.length ? binding.acknowledged_by.join(", ") : "–";
  return {
    address: address(binding),
    backend: binding.backend,
    state: binding.state,
    by: network.by ?? "–",
    served,
    reasons,
  };
}

function table(ports) {
  const rows = ports.map(({ address, backend, state, by, served, reasons }) => [
    el(
      "tr",
      {},
      el("th", { scope: "row" }, el("code", {}, address)),
      el("td", {}, el("code", {}, backend)),
      el("td", {}, el("span", { class: "badge", "data-state": state }, state)),
      el("td", {}, by),
      el("td", {}, served),
    ),
    ...reasons.map((reason) => el("tr", { class: "reason" }, el("td", { colspan: 5 }, reason))),
  ]);
  const titles = ["Address", "Container's", "State", "Network by", "Envoys"];
  return el(
    "div",
    { class: "scroll", tabindex: 0, role: "region", "aria-labelledby": "ports-title" },
    el(
      "table",
      { class: "plain" },
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          titles.map((title) => el("th", { scope: "col" }, title)),
        ),
      ),
      el("tbody", {}, rows),
    ),
  );
}

function ofContainer(service, bindings) {
  return [
    ["Name", service.container],
    ["Id", service.container_id],
    ["Image", service.image],
    ["Mode", service.mode && `${service.mode}${service.mode_by ? `, by ${service.mode_by}` : ""}`],
    ["Cluster", bindings[0]?.cluster],
    ["State since", bindings[0] && new Date(bindings[0].since).toLocaleString("sv")],
  ].filter(([, value]) => value);
}

function ofTotal({ protocol, total, requests }) {
  if (!total) return [["", "nothing is known yet"]];
  const rows = [];
  if (known(total.requests) && (known(requests) || total.requests))
    rows.push(["Requests", count(total.requests)], ["Failed", count(total.failed)]);
  if (protocol === "udp")
    rows.push(["Datagrams in", count(total.packets_in)], ["Datagrams out", count(total.packets_out)]);
  else rows.push(["Connections", count(total.connects)]);
  rows.push(["Bytes in", bytes(total.bytes_in)], ["Bytes out", bytes(total.bytes_out)]);
  return rows;
}

function pairs(entries) {
  return el(
    "dl",
    { class: "pairs" },
    entries.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, String(value)))),
  );
}

function waiting() {
  return el("p", { class: "quiet" }, "…");
}
