// Every service: a strip of sums, what runs, and the table, of which only the rows in sight exist.

import { COLUMNS, DEFAULT_SORT, filtered, nextSort, parsedSort, sorted } from "./columns.js";
import { attribute, children, el, text } from "./dom.js";
import { count } from "./format.js";
import { toList, toService } from "./route.js";
import { Row } from "./rows.js";
import { Strip } from "./strip.js";

const ALL = 150; // so many rows are all there: who searches the page or listens to it finds them
const HEAD = 84; // pixels at the top of the window that its bar and the table's head take
const AROUND = 12; // rows above and below those in sight

// Where somebody was when they left: back leads there.
const left = { scroll: 0, id: null };

export class List {
  constructor(query, recent) {
    this.recent = recent;
    this.filter = query.get("q") ?? "";
    this.sort = query.get("sort") ?? DEFAULT_SORT;
    this.data = null;
    this.services = [];
    this.order = [];
    this.rows = new Map();
    this.current = left.id;
    this.returning = left.scroll;
    this.build();
    this.moved = () => (this.frame ??= requestAnimationFrame(() => ((this.frame = null), this.place())));
    window.addEventListener("scroll", this.moved, { passive: true });
    window.addEventListener("resize", this.moved, { passive: true });
  }

  build() {
    this.strip = new Strip();
    this.input = el("input", {
      type: "search",
      id: "filter",
      placeholder: "name, port, image, state …",
      "aria-label": "Filter services",
      "aria-keyshortcuts": "/",
      autocomplete: "off",
      spellcheck: "false",
      oninput: () => this.refine({ filter: this.input.value }),
    });
    this.input.value = this.filter;
    this.found = el("output", { for: "filter", class: "found" });
    const sortable = COLUMNS.filter((column) => column.sort);
    this.select = el(
      "select",
      { id: "sort", "aria-label": "Sort by", onchange: () => this.refine({ sort: this.select.value }) },
      sortable.map((column) => el("option", { value: nextSort(column, "") }, column.said ?? column.title)),
    );
    this.heads = COLUMNS.map((column) => {
      const content = column.sort
        ? el(
            "button",
            {
              type: "button",
              onclick: () => this.refine({ sort: nextSort(column, this.sort) }),
              title: column.said,
            },
            column.title,
          )
        : column.title;
      return el(
        "th",
        { scope: "col", role: "columnheader", class: `${column.key}${column.number ? " number" : ""}` },
        content,
      );
    });
    this.above = el("tr", { class: "spacer", "aria-hidden": "true" });
    this.beneath = el("tr", { class: "spacer", "aria-hidden": "true" });
    this.body = el("tbody", { role: "rowgroup", onclick: (event) => this.pressed(event) });
    this.table = el(
      "table",
      { class: "services", role: "table", tabindex: -1, "aria-labelledby": "services-title" },
      el("thead", { role: "rowgroup" }, el("tr", { role: "row", "aria-rowindex": 1 }, this.heads)),
      this.body,
    );
    this.empty = el("div", { class: "empty", hidden: true });
    this.element = el(
      "section",
      { class: "list" },
      this.strip.element,
      el(
        "div",
        { class: "tools" },
        el("h1", { id: "services-title" }, "Services"),
        el("span", { class: "filter" }, this.input, el("kbd", { "aria-hidden": "true" }, "/")),
        el("span", { class: "sorting" }, this.select),
        this.found,
      ),
      this.table,
      this.empty,
      this.strip.parts,
    );
  }

  leave() {
    window.removeEventListener("scroll", this.moved);
    window.removeEventListener("resize", this.moved);
    cancelAnimationFrame(this.frame);
    Object.assign(left, { scroll: window.scrollY, id: this.current });
  }

  refine(change) {
    Object.assign(this, change);
    history.replaceState(null, "", this.address);
    this.arrange(true);
  }

  get address() {
    return toList({ filter: this.filter, sort: this.sort === DEFAULT_SORT ? "" : this.sort });
  }

  show(data) {
    this.data = data;
    this.services = data.services;
    this.strip.show(data, this.recent);
    this.arrange(false);
    if (this.returning !== null) {
      window.scrollTo(0, this.returning);
      this.returning = null;
      if (this.current !== null) this.go(0);
    }
  }

  // While somebody points into the table or goes through it, its rows keep their order.
  get held() {
    return this.body.matches(":hover") || this.body.contains(document.activeElement);
  }

  arrange(wanted) {
    if (!this.data) return;
    const shown = filtered(this.services, this.filter);
    const order = sorted(shown, this.sort);
    if (!wanted && this.held) {
      const byId = new Map(order.map((service) => [service.id, service]));
      const kept = this.order.filter(({ id }) => byId.has(id)).map(({ id }) => byId.get(id));
      const before = new Set(kept.map(({ id }) => id));
      this.order = [...kept, ...order.filter(({ id }) => !before.has(id))];
    } else this.order = order;
    const [column, descending] = parsedSort(this.sort);
    COLUMNS.forEach((each, i) =>
      attribute(
        this.heads[i],
        "aria-sort",
        each === column ? (descending ? "descending" : "ascending") : each.sort ? "none" : null,
      ),
    );
    this.select.value = nextSort(column, "");
    text(
      this.found,
      shown.length === this.services.length
        ? count(shown.length)
        : `${count(shown.length)} of ${count(this.services.length)}`,
    );
    attribute(this.table, "aria-rowcount", this.order.length + 1);
    this.tellWhenEmpty();
    this.place();
  }

  tellWhenEmpty() {
    const nothing = !this.order.length;
    this.table.hidden = nothing;
    this.empty.hidden = !nothing;
    if (!nothing) return;
    if (this.services.length)
      return this.empty.replaceChildren(el("p", {}, "No service matches the filter."));
    this.empty.replaceChildren(
      el("p", {}, "No port is published yet."),
      el("p", {}, el("code", {}, "docker run -d -p 8080:80 --label ServiceName=web nginx")),
    );
  }

  // Which rows are in sight, and so exist.
  place() {
    if (!this.order.length) return this.body.replaceChildren();
    const height = this.rowHeight();
    let [from, to] = [0, this.order.length];
    if (to > ALL) {
      const top = this.body.getBoundingClientRect().top;
      from = Math.max(0, Math.min(to - 1, Math.floor(-top / height) - AROUND));
      to = Math.min(to, from + Math.ceil(window.innerHeight / height) + 2 * AROUND);
    }
    const wanted = this.order.slice(from, to);
    const focused = this.body.contains(document.activeElement);
    const rows = new Map();
    wanted.forEach((service, i) => {
      const row = this.rows.get(service.id) ?? new Row(service);
      row.update(service, this.recent.of(service.id));
      attribute(row.element, "aria-rowindex", from + i + 2);
      rows.set(service.id, row);
    });
    this.rows = rows;
    this.above.style.height = `${from * height}px`;
    this.beneath.style.height = `${(this.order.length - to) * height}px`;
    const elements = [...rows.values()].map((row) => row.element);
    children(
      this.body,
      [from && this.above, ...elements, to < this.order.length && this.beneath].filter(Boolean),
    );
    // The row that had it is gone, or out of sight: the arrow keys go on from there.
    if (focused && !this.body.contains(document.activeElement)) this.table.focus({ preventScroll: true });
  }

  rowHeight() {
    const row = this.rows.values().next().value;
    if (row?.element.isConnected) this.height = row.element.getBoundingClientRect().height || this.height;
    return this.height ?? 46;
  }

  pressed(event) {
    const row = [...this.rows.values()].find(({ element }) => element.contains(event.target));
    if (!row) return;
    this.current = row.id;
    if (!event.target.closest("a") && !String(window.getSelection())) location.hash = toService(row.id);
  }

  // The focus goes up or down the rows; 0: it goes to where it was.
  go(step) {
    const focused = [...this.rows.values()].find(({ link }) => link === document.activeElement);
    const from = this.order.findIndex(({ id }) => id === (focused?.id ?? this.current));
    if (step === 0 && from < 0) return;
    const top = Math.ceil((HEAD - this.body.getBoundingClientRect().top) / this.rowHeight());
    const to = Math.max(0, Math.min(this.order.length - 1, from < 0 ? top : from + step));
    const id = this.order[to]?.id;
    if (id === undefined) return;
    this.current = id;
    if (!this.rows.has(id)) {
      window.scrollTo(
        0,
        window.scrollY +
          this.body.getBoundingClientRect().top +
          to * this.rowHeight() -
          window.innerHeight / 2,
      );
      this.place();
    }
    this.rows.get(id)?.link.focus();
  }

  key(event) {
    if (event.key === "/" && document.activeElement !== this.input) this.input.select();
    else if (event.key === "Escape" && document.activeElement === this.input) this.escape();
    else if (event.key === "ArrowDown" || (event.key === "j" && document.activeElement !== this.input))
      this.go(1);
    else if (event.key === "ArrowUp" || (event.key === "k" && document.activeElement !== this.input))
      this.go(-1);
    else return false;
    return true;
  }

  escape() {
    if (this.input.value) {
      this.input.value = "";
      this.refine({ filter: "" });
    } else this.input.blur();
  }
}
