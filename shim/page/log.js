// A service's last lines of the access log, where it is a file that the registrar may read.

import { el, redraw } from "./dom.js";
import { bytes, clock, milliseconds } from "./format.js";
import { Polling, Refused } from "./poll.js";
import { toTrace } from "./route.js";

const EVERY = 4; // seconds

export class LogLines {
  constructor(id) {
    this.content = el("div");
    this.element = el(
      "section",
      { class: "card log", "aria-labelledby": "log-title", hidden: true },
      el("h2", { id: "log-title" }, "Access log"),
      this.content,
    );
    this.local = false;
    this.polling = new Polling(`services/log?id=${encodeURIComponent(id)}`, {
      every: () => EVERY,
      took: (answer) => redraw(this.content, answer, () => this.listed(answer)),
      missed: (error) =>
        error instanceof Refused &&
        redraw(this.content, error.message, (reason) => el("p", { class: "quiet" }, reason)),
    });
    this.polling.start();
  }

  leave() {
    this.polling.stop();
  }

  show(service, { page }) {
    this.element.hidden = service.protocol === "udp";
    this.local = Boolean(page?.local_traces);
  }

  listed({ lines, why }) {
    if (!lines.length)
      return el("p", { class: "quiet" }, why || "No line of this service among the last ones.");
    const titles = ["Time", "Client", "Answer", "Took", "Sent", "What"];
    return el(
      "div",
      { class: "scroll", tabindex: 0, role: "region", "aria-labelledby": "log-title" },
      el(
        "table",
        { class: "plain lines" },
        el(
          "thead",
          {},
          el(
            "tr",
            {},
            titles.map((title) =>
              el(
                "th",
                { scope: "col", class: title === "Took" || title === "Sent" ? "number" : null },
                title,
              ),
            ),
          ),
        ),
        el(
          "tbody",
          {},
          [...lines].reverse().map((line) => this.row(line)),
        ),
      ),
    );
  }

  row(line) {
    const status = line["http.response.status_code"];
    const http = status !== undefined;
    const flags = line.response_flags && line.response_flags !== "-" ? line.response_flags : "";
    const bad = http ? status === 0 || status >= 500 : Boolean(flags);
    const query = line["url.query"] ? `?${line["url.query"]}` : "";
    const what = http
      ? `${line["http.request.method"] ?? "-"} ${line["url.path"] ?? ""}${query}`
      : `${bytes(line["bytes.received"])} received`;
    const trace = line.trace_id;
    return el(
      "tr",
      { "data-level": bad ? "bad" : http && status >= 400 ? "poor" : null },
      el("td", {}, el("time", { datetime: line.time }, clock(line.time))),
      el("td", {}, String(line["client.address"] ?? "–")),
      el("td", { class: "answer" }, http ? String(status || "none") : "tcp"),
      el("td", { class: "number" }, milliseconds(line.duration_ms)),
      el("td", { class: "number" }, bytes(line["http.response.body.size"] ?? line["bytes.sent"])),
      el(
        "td",
        { class: "what" },
        trace && this.local ? el("a", { href: toTrace(trace) }, what) : el("code", {}, what),
        flags ? el("small", {}, ` ${flags} ${line.response_details ?? ""}`) : null,
      ),
    );
  }
}
