// The table's columns: a row each.  What it sorts by, and what its cell shows.

import { addresses, bytes, count, latency, number, percent, rate } from "./format.js";

// What needs a look comes first.
const STATES = ["rejected", "pending", "published", "releasing", "serving"];

export function needsALook(service) {
  return service.state === "rejected" || Boolean(service.why);
}

function urgency(service) {
  if (needsALook(service)) return service.state === "rejected" ? -2 : -1;
  const found = STATES.indexOf(service.state);
  return found < 0 ? 0 : found;
}

function name(service) {
  return `${service.service ?? ""}\u0000${service.environment ?? ""}\u0000${service.id}`;
}

// Which words say how much is wrong: from 1 on all is well, below 0.95 it is not.
export function health(share) {
  if (share === null || share === undefined) return "";
  return share < 0.95 ? "bad" : share < 0.99 ? "poor" : "";
}

// {key, title, said (where the title is too short), sort(service), cell(service) -> [text, small text, class]}
export const COLUMNS = [
  { key: "service", title: "Service", sort: name },
  { key: "state", title: "State", sort: urgency, cell: (s) => [s.state, "", ""] },
  {
    key: "mode",
    title: "Mode",
    sort: (s) => s.mode ?? "",
    cell: (s) => [s.mode ?? "–", s.mode_by ? `by ${s.mode_by}` : "", ""],
  },
  {
    key: "rate",
    title: "Rate",
    said: "Requests, connections or datagrams per second",
    number: true,
    sort: (s) => rate(s)[0],
    cell: (s) => {
      const [value, unit] = rate(s);
      return [number(value), `${unit}/s`, ""];
    },
  },
  { key: "chart", title: "Last 10 min" },
  {
    key: "success",
    title: "Success",
    said: "Success rate",
    number: true,
    sort: (s) => s.success,
    rising: true,
    cell: (s) => [percent(s.success), "", health(s.success)],
  },
  ...["p50", "p95", "p99"].map((key) => ({
    key,
    title: key,
    said: `${key} of latency, in milliseconds`,
    number: true,
    sort: (s) => s[key],
    cell: (s) => {
      const shown = latency(s[key]);
      return [shown, /\d$/.test(shown) ? "ms" : "", ""];
    },
  })),
  {
    key: "connections",
    title: "Conns",
    said: "Open connections",
    number: true,
    sort: (s) => s.connections,
    cell: (s) => [count(s.connections), "", ""],
  },
  {
    key: "in",
    title: "In",
    said: "Bytes per second from clients",
    number: true,
    sort: (s) => s.in,
    cell: (s) => perSecond(s.in),
  },
  {
    key: "out",
    title: "Out",
    said: "Bytes per second to clients",
    number: true,
    sort: (s) => s.out,
    cell: (s) => perSecond(s.out),
  },
];

function perSecond(value) {
  const [amount, unit] = bytes(value).split(" ");
  return [amount, unit ? `${unit}/s` : "", ""];
}

export const DEFAULT_SORT = "state";
const BY_KEY = new Map(COLUMNS.filter((column) => column.sort).map((column) => [column.key, column]));

// A sort is a column's key, with "-" before it for the other way round: [column, descending].
export function parsedSort(sort) {
  const column = BY_KEY.get(sort.replace(/^-/, ""));
  return column ? [column, sort.startsWith("-")] : [BY_KEY.get(DEFAULT_SORT), false];
}

// What a column is sorted by once its head is pressed: numbers from the largest, and the other way the next time.
export function nextSort(column, sort) {
  const first = column.number && !column.rising ? `-${column.key}` : column.key;
  const other = first.startsWith("-") ? column.key : `-${column.key}`;
  return sort === first ? other : first;
}

export function sorted(services, sort) {
  const [column, descending] = parsedSort(sort);
  const way = descending ? -1 : 1;
  const keyed = services.map((service) => [column.sort(service), name(service), service]);
  keyed.sort(([a, nameA], [b, nameB]) => compare(a, b, way) || compare(nameA, nameB, 1));
  return keyed.map(([, , service]) => service);
}

// web-9 is before web-10.
const naturally = new Intl.Collator("en", { numeric: true });

// What is not known is at the end, either way.
function compare(a, b, way) {
  const none = (a === null || a === undefined) - (b === null || b === undefined);
  if (none) return none;
  if (typeof a === "string") return way * naturally.compare(a, b);
  return a < b ? -way : a > b ? way : 0;
}

// Every word of the filter is somewhere in what the row says.
export function filtered(services, filter) {
  const words = filter.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) return services;
  return services.filter((service) => {
    const said = [
      ...[
        service.service,
        service.environment,
        service.container,
        service.image,
        service.state,
        service.mode,
      ],
      ...[
        service.protocol,
        service.why,
        service.id,
        service.addresses.join(" "),
        addresses(service.addresses),
      ],
    ];
    const all = said.join(" ").toLowerCase();
    return words.every((word) => all.includes(word));
  });
}
