// Charts by hand: a small one for a row, and one with axes whose moment can be pointed at.

import { attribute, el, svg, text } from "./dom.js";
import { clock, duration } from "./format.js";

const WIDTH = 120;
const HEIGHT = 24;

// A row's small chart: what it says is in the row's numbers too, so it is hidden from who listens.
export class Spark {
  constructor() {
    this.area = svg("path", { class: "area" });
    this.line = svg("path", { class: "line" });
    this.element = svg(
      "svg",
      {
        class: "spark",
        viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
        preserveAspectRatio: "none",
        "aria-hidden": "true",
      },
      this.area,
      this.line,
    );
  }

  draw(points) {
    const { line, area } = shape(points, highest(points) || 1, WIDTH, HEIGHT);
    attribute(this.line, "d", line);
    attribute(this.area, "d", area);
  }
}

function highest(points) {
  return points.reduce((most, value) => Math.max(most, value ?? 0), 0);
}

// Paths over `width` by `height`; where nobody looked there is a gap.
function shape(points, top, width, height) {
  const step = width / Math.max(1, points.length - 1);
  const parts = [];
  let part = null;
  points.forEach((value, i) => {
    if (value === null || value === undefined) part = null;
    else {
      if (!part) parts.push((part = []));
      part.push([
        (i * step).toFixed(1),
        (height - 1 - (Math.min(value, top) / top) * (height - 2)).toFixed(1),
      ]);
    }
  });
  const drawn = parts.map((part) => {
    // One point alone would be nothing.
    if (part.length === 1) part.push([(Number(part[0][0]) + Math.max(1, step * 0.6)).toFixed(1), part[0][1]]);
    const line = `M${part.map(([x, y]) => `${x} ${y}`).join("L")}`;
    return { line, area: `${line}L${part[part.length - 1][0]} ${height}L${part[0][0]} ${height}Z` };
  });
  return {
    line: drawn.map((one) => one.line).join("") || null,
    area: drawn.map((one) => one.area).join("") || null,
  };
}

// What an axis ends with: a round number that is not below the value, and whose half is round too.
export function roundUp(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  const times = [1, 1.6, 2, 3, 4, 5, 6, 8, 10].find((factor) => factor * power >= value * 0.999);
  return times * power;
}

const PLOT_WIDTH = 600;
const PLOT_HEIGHT = 120;

// A chart with a title, axes and the values of one moment: now, or where somebody points.
// series: [{key, label, filled}]; format: a value as text; unit: said after the title; least: where the axis ends at the
// least.
export class Plot {
  constructor({ title, unit, series, format, least = 0 }) {
    Object.assign(this, { title, unit, series, format, least, history: null, at: null, onpoint: () => {} });
    this.paths = series.map(({ key, filled }) => ({
      area: filled ? svg("path", { class: `area ${key}` }) : null,
      line: svg("path", { class: `line ${key}` }),
    }));
    this.values = series.map(({ key, label }) => ({ element: el("b"), label, key }));
    this.moment = el("span", { class: "moment" });
    this.ticks = [el("span"), el("span"), el("span")];
    this.cross = el("i", { class: "cross", hidden: true });
    this.start = el("span");
    const lines = [0, 0.5, 1].map((share) => {
      const y = 1 + share * (PLOT_HEIGHT - 2);
      return svg("line", { class: "grid", x1: 0, x2: PLOT_WIDTH, y1: y, y2: y });
    });
    this.canvas = el(
      "div",
      { class: "canvas" },
      svg(
        "svg",
        { viewBox: `0 0 ${PLOT_WIDTH} ${PLOT_HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" },
        lines,
        this.paths.map(({ area }) => area),
        this.paths.map(({ line }) => line),
      ),
      this.cross,
    );
    const legend = this.values.map(({ element, label, key }) =>
      el(
        "span",
        { class: `legend ${key}` },
        el("i", { class: "key", "aria-hidden": "true" }),
        label ? `${label} ` : "",
        element,
      ),
    );
    this.element = el(
      "figure",
      { class: "plot", tabindex: 0, role: "group" },
      el(
        "figcaption",
        {},
        el("span", { class: "title" }, title, " ", el("small", {}, unit)),
        this.moment,
        el("span", { class: "legends" }, legend),
      ),
      el(
        "div",
        { class: "frame", "aria-hidden": "true" },
        el("div", { class: "ticks" }, this.ticks),
        this.canvas,
      ),
      el("div", { class: "axis", "aria-hidden": "true" }, this.start, el("span", {}, "now")),
    );
    this.canvas.addEventListener("pointermove", (event) => {
      const { left, width } = this.canvas.getBoundingClientRect();
      this.point((event.clientX - left) / width);
    });
    this.canvas.addEventListener("pointerleave", () => this.onpoint(null));
    this.element.addEventListener("keydown", (event) => this.pressed(event));
    this.element.addEventListener("blur", () => this.onpoint(null));
  }

  get length() {
    return this.history?.series[this.series[0].key]?.length ?? 0;
  }

  point(share) {
    if (this.length)
      this.onpoint(Math.max(0, Math.min(this.length - 1, Math.round(share * (this.length - 1)))));
  }

  pressed(event) {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!step || !this.length || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const from = this.at ?? this.length - 1;
    this.onpoint(Math.max(0, Math.min(this.length - 1, from + step)), true);
  }

  draw(history) {
    this.history = history;
    const all = this.series.map(({ key }) => history.series[key] ?? []);
    const top = roundUp(Math.max(this.least, ...all.map(highest)));
    all.forEach((points, i) => {
      const { line, area } = shape(points, top, PLOT_WIDTH, PLOT_HEIGHT);
      attribute(this.paths[i].line, "d", line);
      if (this.paths[i].area) attribute(this.paths[i].area, "d", area);
    });
    [top, top / 2, 0].forEach((value, i) => text(this.ticks[i], value === 0 ? "0" : this.format(value)));
    text(this.start, `${duration(history.every * this.length)} ago`);
    this.show(this.at);
  }

  // The values at this point, or the last ones.
  show(at) {
    this.at = at;
    if (!this.history) return;
    const index = at ?? this.length - 1;
    this.values.forEach(({ element, key }) =>
      text(element, this.format((this.history.series[key] ?? [])[index])),
    );
    text(this.moment, at === null ? "" : this.when(index));
    this.cross.hidden = at === null;
    this.cross.style.left = `${(index / Math.max(1, this.length - 1)) * 100}%`;
    attribute(this.element, "aria-label", `${this.title}, ${this.unit}. ${this.said(index)}`);
  }

  when(index) {
    return clock(Date.parse(this.history.end) - (this.length - 1 - index) * this.history.every * 1000);
  }

  // One moment, as it is read out.
  said(index) {
    const values = this.values.map(({ label, element }) => `${label} ${element.textContent}`.trim());
    return `${this.at === null ? "Now" : this.when(index)}: ${values.join(", ")}`;
  }
}
