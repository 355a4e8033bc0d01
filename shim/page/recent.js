// The last ten minutes of every service: read once, and then carried on with what each answer says anyway.

import { rate } from "./format.js";

const LENGTH = 120;
const OLD = 30_000; // ms without an answer, after which what is missing is read

export class Recent {
  constructor() {
    this.every = 5000;
    this.end = 0; // the moment of the last point, in ms of the registrar's clock
    this.points = new Map();
    this.silent = Array(LENGTH).fill(null);
  }

  isOld(now) {
    return Date.parse(now) - this.end > OLD;
  }

  // What /services/history answers: those that are not in it were silent whenever somebody looked.
  load({ every, end, requests }) {
    if (!end) return; // nobody has looked yet
    this.every = every * 1000;
    this.end = Date.parse(end);
    const found = Object.entries(requests).map(([id, points]) => [id, padded(points)]);
    this.silent = Array.from({ length: LENGTH }, (_, i) =>
      found.some(([, points]) => points[i] !== null) ? 0 : null,
    );
    this.points = new Map(found);
  }

  // What /services answers.
  add({ now, warming, services }) {
    const at = Date.parse(now);
    if (!this.end) this.end = at;
    const steps = Math.min(LENGTH, Math.max(0, Math.floor((at - this.end) / this.every)));
    this.end += steps * this.every;
    const there = new Set();
    for (const { id } of services) this.of(id);
    for (const points of [this.silent, ...this.points.values()]) {
      points.splice(0, steps);
      while (points.length < LENGTH) points.push(null);
    }
    if (!warming) this.silent[LENGTH - 1] = 0;
    for (const service of services) {
      const points = this.of(service.id);
      if (!warming) points[LENGTH - 1] = rate(service)[0];
      there.add(service.id);
    }
    for (const id of this.points.keys()) if (!there.has(id)) this.points.delete(id);
  }

  of(id) {
    if (!this.points.has(id)) this.points.set(id, [...this.silent]);
    return this.points.get(id);
  }

  // The sum of some services' points.
  sum(ids) {
    const total = Array(LENGTH).fill(null);
    for (const id of ids)
      this.of(id).forEach((value, i) => value !== null && (total[i] = (total[i] ?? 0) + value));
    return total;
  }
}

function padded(points) {
  const last = points.slice(-LENGTH);
  return [...Array(LENGTH - last.length).fill(null), ...last];
}
