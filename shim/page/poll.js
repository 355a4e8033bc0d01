// Asks again and again while somebody looks: not in a hidden tab, and ever more rarely while nobody answers.

const PATIENCE = 10_000; // ms for one answer
const LONGEST = 15; // seconds between two tries while the registrar is away

export class Refused extends Error {
  constructor(status, reason) {
    super(reason);
    this.status = status;
  }
}

// The JSON at one of the API's paths.  Throws Refused for an answer that is none, TypeError and such without one.
export async function read(path, signal) {
  const patience = AbortSignal.timeout(PATIENCE);
  const answer = await fetch(path, {
    signal: signal && AbortSignal.any ? AbortSignal.any([signal, patience]) : (signal ?? patience),
    cache: "no-store",
    redirect: "error",
  });
  const text = await answer.text();
  if (answer.ok) return JSON.parse(text);
  let reason = text.slice(0, 500);
  try {
    reason = JSON.parse(text).error ?? reason;
  } catch {
    // It is a text.
  }
  throw new Refused(answer.status, String(reason));
}

// took(answer) is called with each answer, missed(error, seconds until the next try) without one; paused() when
// nobody looks any more.  every(answer): seconds until the next question.
export class Polling {
  constructor(path, { every, took, missed = () => {}, paused = () => {} }) {
    Object.assign(this, { path, every, took, missed, paused });
    this.timer = 0;
    this.failures = 0;
    this.asking = null;
    this.seen = () => this.look();
  }

  start() {
    document.addEventListener("visibilitychange", this.seen);
    window.addEventListener("online", this.seen);
    this.look();
  }

  stop() {
    document.removeEventListener("visibilitychange", this.seen);
    window.removeEventListener("online", this.seen);
    this.halt();
  }

  // At once, where somebody looks.
  look() {
    this.halt();
    if (document.hidden) this.paused();
    else this.ask();
  }

  halt() {
    clearTimeout(this.timer);
    this.asking?.abort();
    this.asking = null;
  }

  async ask() {
    const asking = (this.asking = new AbortController());
    let answer;
    let error = null;
    try {
      answer = await read(this.path, asking.signal);
    } catch (caught) {
      error = caught;
    }
    if (asking !== this.asking) return;
    this.failures = error ? this.failures + 1 : 0;
    const wait = error ? Math.min(LONGEST, 2 ** (this.failures - 1)) : this.every(answer);
    this.timer = setTimeout(() => this.look(), wait * 1000);
    if (error) this.missed(error, wait);
    else this.took(answer);
  }
}
