// A service's last ten minutes: requests, latency, connections and bytes, pointed at all at once.

import { Plot } from "./charts.js";
import { el, tell } from "./dom.js";
import { bytes, count, isHttp, known, milliseconds, NONE, number } from "./format.js";
import { Polling } from "./poll.js";

const perSecond = (value) => (known(value) ? `${bytes(value)}/s` : NONE);

export class Plots {
  constructor(id) {
    this.element = el("section", { class: "plots", "aria-label": "The last ten minutes" });
    this.kind = null;
    this.all = [];
    this.history = null;
    this.polling = new Polling(`services/history?id=${encodeURIComponent(id)}`, {
      every: (answer) => answer.every,
      took: (answer) => {
        // Without an end nobody has looked yet; without series nothing is known of it.
        if (!answer.end || !answer.series) return;
        this.history = answer;
        this.draw();
      },
    });
    this.polling.start();
  }

  leave() {
    this.polling.stop();
  }

  show(service) {
    const kind = service.protocol === "udp" ? "udp" : isHttp(service) ? "http" : "tcp";
    if (kind === this.kind) return;
    this.kind = kind;
    this.all = made(kind);
    for (const plot of this.all) plot.onpoint = (at, said) => this.point(plot, at, said);
    this.element.replaceChildren(...this.all.map((plot) => plot.element));
    this.draw();
  }

  draw() {
    if (this.history) for (const plot of this.all) plot.draw(this.history);
  }

  // Wherever somebody points, all of them show that moment.
  point(plot, at, said) {
    for (const each of this.all) each.show(at);
    if (said) tell(plot.said(at));
  }
}

const CONNECTIONS = {
  title: "Connections",
  unit: "open",
  format: count,
  least: 4,
  series: [{ key: "connections", label: "", filled: true }],
};

function made(kind) {
  const traffic = new Plot({
    title: "Traffic",
    unit: "bytes per second",
    format: perSecond,
    series: [
      { key: "in", label: "in", filled: true },
      { key: "out", label: "out" },
    ],
  });
  const connections = new Plot(CONNECTIONS);
  if (kind === "udp") {
    const datagrams = new Plot({
      title: "Datagrams",
      unit: "from clients, per second",
      format: number,
      series: [{ key: "requests", label: "", filled: true }],
    });
    return [datagrams, new Plot({ ...CONNECTIONS, title: "Clients", unit: "lately" }), traffic];
  }
  if (kind === "tcp") {
    const opened = new Plot({
      title: "New connections",
      unit: "per second",
      format: number,
      series: [{ key: "connects", label: "", filled: true }],
    });
    return [opened, connections, traffic];
  }
  const requests = new Plot({
    title: "Requests",
    unit: "per second",
    format: number,
    series: [
      { key: "requests", label: "all", filled: true },
      { key: "errors", label: "failed", filled: true },
    ],
  });
  const latency = new Plot({
    title: "Latency",
    unit: "time to the end of the answer",
    format: milliseconds,
    series: [
      { key: "p50", label: "p50" },
      { key: "p95", label: "p95" },
      { key: "p99", label: "p99" },
    ],
  });
  return [requests, latency, connections, traffic];
}
