// Numbers and moments as people read them.  null stands for "not looked" or "there is none".

export const NONE = "–";
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const hundredth = new Intl.NumberFormat("en", { maximumFractionDigits: 2 });
const tenth = new Intl.NumberFormat("en", { maximumFractionDigits: 1, minimumFractionDigits: 1 });

// 0, <0.01, 0.25, 3.4, 12, 1,234, 123.4 k
export function number(value) {
  if (value === null || value === undefined) return NONE;
  if (value === 0) return "0";
  if (value < 0.005) return "<0.01";
  if (value < 0.995) return hundredth.format(value);
  if (value < 9.95) return tenth.format(value);
  if (value < 99_999.5) return whole.format(value);
  return value < 999_950 ? `${tenth.format(value / 1e3)} k` : `${tenth.format(value / 1e6)} M`;
}

export function count(value) {
  return value === null || value === undefined ? NONE : whole.format(value);
}

// Milliseconds, without a unit below a second: 0.4, 12, 1.2 s
export function latency(value) {
  if (value === null || value === undefined) return NONE;
  if (value < 9.95) return tenth.format(value);
  if (value < 999.5) return whole.format(value);
  return value < 99_950 ? `${tenth.format(value / 1000)} s` : `${whole.format(value / 1000)} s`;
}

export function milliseconds(value) {
  const shown = latency(value);
  return shown === NONE || shown.endsWith("s") ? shown : `${shown} ms`;
}

const UNITS = ["B", "kB", "MB", "GB", "TB"];

// 0, 532 B, 8.4 MB
export function bytes(value) {
  if (value === null || value === undefined) return NONE;
  if (value === 0) return "0";
  let unit = 0;
  while (value >= 999.5 && unit < UNITS.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const shown =
    unit === 0
      ? value < 1
        ? "<1"
        : whole.format(value)
      : value < 9.95
        ? tenth.format(value)
        : whole.format(value);
  return `${shown} ${UNITS[unit]}`;
}

// A share as percent: 100 % is said only of all, and 99.99 % not of less.
export function percent(share) {
  if (share === null || share === undefined) return NONE;
  if (share === 1) return "100 %";
  const value = share * 100;
  const digits = value >= 99 ? 2 : value >= 10 ? 1 : 2;
  return `${(Math.floor(value * 10 ** digits) / 10 ** digits).toFixed(digits)} %`;
}

// 4 s, 12 min, 3 h, 5 d
export function duration(seconds) {
  if (seconds < 99.5) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 99.5 * 60) return `${Math.round(seconds / 60)} min`;
  return seconds < 48 * 3600 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86400)} d`;
}

export function ago(moment, now) {
  return duration((Date.parse(now) - Date.parse(moment)) / 1000);
}

export function clock(moment) {
  const at = new Date(moment);
  return Number.isNaN(at.getTime()) ? String(moment) : at.toTimeString().slice(0, 8);
}

export function plural(amount, one, many = `${one}s`) {
  return `${count(amount)} ${amount === 1 ? one : many}`;
}

// "0.0.0.0:8080" and "[::]:8080" are every address: ":8080".
export function addresses(list) {
  const found = list.map((address) => address.replace(/^(0\.0\.0\.0|\[::\]):/, ":"));
  return [...new Set(found)].join(", ");
}

// What goes through a service, in the unit that fits it: [per second, unit].  In mode auto what never was HTTP counts
// as connections.
export function rate(service) {
  if (service.protocol === "udp") return [service.packets_in, "pkt"];
  return isHttp(service) ? [service.requests, "req"] : [service.connects, "conn"];
}

export function isHttp({ requests, total, mode }) {
  return known(requests)
    ? Boolean(total?.requests) || !total?.connects
    : mode === "http" || Boolean(total?.requests);
}

export function known(value) {
  return value !== null && value !== undefined;
}
