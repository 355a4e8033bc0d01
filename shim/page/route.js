// What the page shows is in its address, behind the #: so that back, reload and a sent link work.

// Where the list was left, with its filter and its order.
export const last = { list: "#/" };

// {view: "list", query} | {view: "service", id} | {view: "trace", id}
export function route(hash) {
  const [path, query] = hash.replace(/^#/, "").split("?");
  const [, view, ...rest] = path.split("/");
  if ((view === "service" || view === "trace") && rest.length) {
    try {
      return { view, id: decodeURIComponent(rest.join("/")) };
    } catch {
      // No encoded text.
    }
  }
  return { view: "list", query: new URLSearchParams(query ?? "") };
}

export function toService(id) {
  return `#/service/${encodeURIComponent(id)}`;
}

export function toTrace(id) {
  return `#/trace/${encodeURIComponent(id)}`;
}

export function toList({ filter, sort }) {
  const query = new URLSearchParams();
  if (filter) query.set("q", filter);
  if (sort) query.set("sort", sort);
  const text = query.toString();
  return `#/${text ? `?${text}` : ""}`;
}
