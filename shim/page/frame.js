// Around every view: whether the page is live, and what is wrong, in the words of `status` and `doctor`.

import { el, redraw, tell, text } from "./dom.js";
import { clock, plural } from "./format.js";
import { last } from "./route.js";

const FEW = 4; // problems that are shown at first

export class Frame {
  constructor() {
    this.live = document.getElementById("live");
    this.liveText = document.getElementById("live-text");
    this.away = document.getElementById("away");
    this.box = document.getElementById("problems");
    this.all = false;
    this.count = null;
    this.countdown = 0;
  }

  lamp(state, words) {
    this.live.dataset.state = state;
    text(this.liveText, words);
  }

  took(data) {
    clearInterval(this.countdown);
    if (!this.away.hidden) tell("The registrar answers again.");
    this.away.hidden = true;
    delete document.body.dataset.old;
    this.lamp("live", data.warming ? "live, measuring" : "live");
    this.showProblems(data.problems);
  }

  paused() {
    clearInterval(this.countdown);
    this.lamp("paused", "paused");
  }

  missed(error, wait, data) {
    clearInterval(this.countdown);
    const why =
      error.status === 403
        ? `The registrar refuses this browser: ${error.message}.`
        : error.status === 404
          ? "The registrar has no page any more: page is off, or it is an older version."
          : "The registrar does not answer.";
    const since = data ? ` This is what was known at ${clock(data.now)}.` : "";
    const until = Date.now() + wait * 1000;
    const count = () => {
      const seconds = Math.max(0, Math.round((until - Date.now()) / 1000));
      text(this.away, `${why}${since} ${seconds ? `Next try in ${seconds} s.` : "Trying again."}`);
    };
    if (this.away.hidden) tell(why);
    this.away.hidden = false;
    document.body.dataset.old = "";
    this.lamp("away", "no answer");
    count();
    this.countdown = setInterval(count, 1000);
  }

  showProblems(problems) {
    if (problems.length !== this.count) {
      if (this.count !== null || problems.length)
        tell(
          problems.length ? `${plural(problems.length, "problem")}: ${problems[0]}` : "No problems any more.",
        );
      this.count = problems.length;
    }
    document.title = `${problems.length ? `(${problems.length}) ` : ""}envoy-docker-shim`;
    this.box.hidden = !problems.length;
    redraw(this.box, [problems, this.all], () => this.drawn(problems));
  }

  drawn(problems) {
    const shown = this.all ? problems : problems.slice(0, FEW);
    const more = problems.length > FEW;
    return [
      el("h2", { id: "problems-title" }, el("a", { href: last.list }, plural(problems.length, "problem"))),
      el(
        "ul",
        { class: this.all ? "long" : null },
        shown.map((line) => el("li", {}, line)),
      ),
      el(
        "p",
        { class: "hint" },
        more
          ? el(
              "button",
              { type: "button", "aria-expanded": String(this.all), onclick: () => this.toggle(problems) },
              this.all ? "Show fewer" : `Show all ${problems.length}`,
            )
          : null,
        el(
          "span",
          {},
          el("code", {}, "envoy-docker-shim doctor"),
          " on the host looks for causes, and says what cures them.",
        ),
      ),
    ];
  }

  toggle(problems) {
    this.all = !this.all;
    this.showProblems(problems);
    this.box.querySelector("button")?.focus();
  }
}
