// Puts the page together: one question to the registrar at a time, the frame around, and the view the address names.

import { tell } from "./dom.js";
import { Frame } from "./frame.js";
import { List } from "./list.js";
import { Polling, read } from "./poll.js";
import { Recent } from "./recent.js";
import { last, route } from "./route.js";
import { ServiceView } from "./service.js";
import { TraceView } from "./trace.js";

const place = document.getElementById("view");
const recent = new Recent();
const frame = new Frame();
let data = null;
let view = null;
let loading = false;
let shown = "";

function turn() {
  if (location.hash === "#main") return;
  const to = route(location.hash);
  const key = to.view === "list" ? "list" : `${to.view}/${to.id}`;
  if (key === shown) return;
  const first = !shown;
  if (shown === "list") last.list = view.address;
  shown = key;
  view?.leave();
  view =
    to.view === "service"
      ? new ServiceView(to.id)
      : to.view === "trace"
        ? new TraceView(to.id)
        : new List(to.query, recent);
  place.replaceChildren(view.element);
  document.body.dataset.view = to.view === "list" ? "list" : "one";
  if (to.view !== "list") window.scrollTo(0, 0);
  if (data) view.show(data);
  // Who cannot see that the page changed is told, and goes on from its beginning.
  if (!first) {
    if (!place.contains(document.activeElement))
      document.getElementById("main").focus({ preventScroll: true });
    tell(to.view === "list" ? "All services" : `${to.view === "trace" ? "Trace" : "Service"} ${to.id}`);
  }
}

// What happened while nobody looked, unless it is on its way already.
async function catchUp() {
  loading = true;
  try {
    recent.load(await read("services/history"));
    if (data) view.show(data);
  } catch {
    // The figures are there all the same; the next answer tries again.
  } finally {
    loading = false;
  }
}

const polling = new Polling("services", {
  every: (answer) => (answer.warming ? 1 : Math.max(1, answer.every)),
  took(answer) {
    const old = recent.isOld(answer.now);
    data = answer;
    recent.add(answer);
    frame.took(answer);
    view.show(answer);
    if (old && !loading) catchUp();
  },
  missed: (error, wait) => frame.missed(error, wait, data),
  paused: () => frame.paused(),
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  const typing = event.target.matches("input, select, textarea");
  if (typing && event.key.length === 1) return;
  if (typing && event.target.matches("select")) return;
  if (view?.key(event)) event.preventDefault();
});
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  document.getElementById("main").focus();
});
window.addEventListener("hashchange", turn);
turn();
polling.start();
