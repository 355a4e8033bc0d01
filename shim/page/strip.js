// Above the table: sums over all services.  Below it: the registrar, Docker and each Envoy, and how far they are.

import { Spark } from "./charts.js";
import { health } from "./columns.js";
import { attribute, el, redraw, text } from "./dom.js";
import { ago, bytes, count, isHttp, known, number, percent, plural } from "./format.js";

const STATES = ["rejected", "pending", "published", "releasing"];

export class Strip {
  constructor() {
    this.figures = new Map();
    this.spark = new Spark();
    const titles = ["Services", "Requests", "Success", "Connections", "In", "Out"];
    this.element = el(
      "dl",
      { class: "strip" },
      titles.map((title) => {
        const [value, unit, more] = [el("b"), el("small"), el("span", { class: "more" })];
        const box = el(
          "div",
          { "data-sum": title.toLowerCase() },
          el("dt", {}, title),
          el("dd", {}, value, " ", unit, more),
        );
        if (title === "Requests") box.append(this.spark.element);
        this.figures.set(title, { value, unit, more, box });
        return box;
      }),
    );
    this.parts = el("section", { class: "parts", "aria-label": "What runs" });
  }

  show(data, recent) {
    const services = data.services;
    const sum = (of) => services.reduce((total, service) => total + (of(service) ?? 0), 0);
    const asked = services.filter((service) => known(service.requests) && isHttp(service));
    const requests = asked.reduce((total, service) => total + service.requests, 0);
    const succeeded = asked.filter((service) => known(service.success));
    const weight = succeeded.reduce((total, service) => total + service.requests, 0);
    const success = weight
      ? succeeded.reduce((total, service) => total + service.requests * service.success, 0) / weight
      : null;
    const others = STATES.map((state) => [
      state,
      services.filter((service) => service.state === state).length,
    ]).filter(([, many]) => many);
    const serving = services.filter((service) => service.state === "serving").length;
    this.put(
      "Services",
      count(services.length),
      "",
      others.length
        ? others.map(([state, many]) => `${many} ${state}`).join(", ")
        : serving
          ? "all serving"
          : "",
    );
    attribute(
      this.figures.get("Services").box,
      "data-level",
      others.some(([state]) => state === "rejected") ? "bad" : null,
    );
    const waiting = data.warming ? "measuring" : "";
    this.put("Requests", data.warming ? "–" : number(requests), "/s", waiting);
    this.put("Success", percent(success), "", "");
    attribute(this.figures.get("Success").box, "data-level", health(success) || null);
    this.put(
      "Connections",
      count(sum(({ protocol, connections }) => (protocol === "udp" ? 0 : connections))),
      "",
      data.warming ? "" : `${number(sum((service) => service.connects))} new/s`,
    );
    for (const [title, key] of [
      ["In", "in"],
      ["Out", "out"],
    ]) {
      const [amount, unit] = bytes(sum((service) => service[key])).split(" ");
      this.put(title, amount, `${unit ?? "B"}/s`, "");
    }
    this.spark.draw(recent.sum(asked.map(({ id }) => id)));
    this.showParts(data);
  }

  put(title, value, unit, more) {
    const figure = this.figures.get(title);
    text(figure.value, value);
    text(figure.unit, value === "–" ? "" : unit);
    text(figure.more, more);
  }

  showParts({ registrar, envoys, now }) {
    // Its age is rounded: it changes rarely.
    const rows = [
      part("Registrar", registrar.version, `up ${ago(registrar.since, now)}`, true, []),
      part(
        "Docker",
        "",
        registrar.docker_reachable ? "reachable" : "not reachable",
        registrar.docker_reachable,
        [],
      ),
      ...envoys.filter((envoy) => envoy.trusted).map((envoy) => ofEnvoy(envoy, now)),
    ];
    if (rows.length === 2) rows.push(part("Envoy", "", "none is connected", false, []));
    redraw(this.parts, rows, () => rows.map(drawn));
  }
}

function part(name, version, said, well, facts) {
  return { name, version, said, well, facts };
}

function ofEnvoy(envoy, now) {
  const kinds = ["listeners", "clusters"];
  const behind = kinds.filter((kind) => !envoy[kind].current);
  const facts = kinds.map((kind) => [
    kind,
    envoy[kind].acknowledged.slice(0, 12) || "none",
    envoy[kind].current ? "current" : "not current",
  ]);
  const rejected = Object.keys(envoy.rejected).length;
  const said = rejected
    ? `refuses ${plural(rejected, "listener")}`
    : envoy.refuses
      ? "refuses its configuration"
      : behind.length
        ? `waits for ${behind.join(" and ")}`
        : "has acknowledged everything";
  return part(
    `Envoy ${envoy.node}`,
    envoy.version,
    `${said}, connected ${ago(envoy.since, now)}`,
    !envoy.refuses && !rejected,
    facts,
  );
}

function drawn({ name, version, said, well, facts }) {
  return el(
    "div",
    { class: "part", "data-well": String(well) },
    el("span", { class: "lamp", "aria-hidden": "true" }),
    el("strong", {}, name),
    version ? el("span", { class: "version" }, version) : null,
    el("span", { class: "said" }, said),
    facts.length
      ? el(
          "span",
          { class: "facts" },
          facts.map(([kind, version, how]) => el("span", {}, `${kind} `, el("code", {}, version), ` ${how}`)),
        )
      : null,
  );
}
