// One row of the table, made once and then kept up to date in place.

import { Spark } from "./charts.js";
import { COLUMNS, needsALook } from "./columns.js";
import { attribute, el, text } from "./dom.js";
import { addresses } from "./format.js";
import { toService } from "./route.js";

export class Row {
  constructor(service) {
    this.id = service.id;
    this.link = el("a", { href: toService(service.id) });
    this.environment = el("span", { class: "env" });
    this.below = el("span", { class: "below" });
    this.spark = new Spark();
    this.cells = new Map();
    const cells = COLUMNS.map((column) => {
      if (column.key === "service")
        return el(
          "th",
          { scope: "row", role: "rowheader", class: "service" },
          el("span", { class: "first" }, this.link, this.environment),
          this.below,
        );
      if (column.key === "chart") return el("td", { role: "cell", class: "chart" }, this.spark.element);
      const [value, small] = [el("span", { class: "value" }), el("small")];
      const cell = el(
        "td",
        { role: "cell", class: `${column.key}${column.number ? " number" : ""}`, "data-title": column.title },
        value,
        " ",
        small,
      );
      this.cells.set(column, { cell, value, small });
      return cell;
    });
    this.element = el("tr", { role: "row" }, cells);
  }

  update(service, points) {
    text(this.link, service.service || service.id);
    text(this.environment, service.environment ?? "");
    const where = addresses(service.addresses);
    text(this.below, [where, service.why || service.container].filter(Boolean).join(" · "));
    attribute(
      this.below,
      "title",
      [service.addresses.join(", "), service.why, service.container, service.image]
        .filter(Boolean)
        .join("\n"),
    );
    attribute(this.element, "data-state", service.state);
    attribute(this.element, "data-look", needsALook(service));
    for (const [column, { cell, value, small }] of this.cells) {
      const [shown, unit, level] = column.cell(service);
      text(value, shown);
      text(small, shown === "–" && column.number ? "" : unit);
      attribute(cell, "data-level", level || null);
    }
    this.spark.draw(points);
  }
}
