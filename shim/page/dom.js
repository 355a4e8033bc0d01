// Elements out of texts.  Names, labels and reasons come from strangers: they only ever become text nodes.

const SVG = "http://www.w3.org/2000/svg";

// el("a", {class: "x", href: "#/"}, "text", child, null): an element; what is null, undefined or false is left out.
export function el(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

// Only what changed is written: the rest keeps its focus, its selection and its place.
export function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

export function attribute(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

// The children of `parent` are these, in this order; those that stay are not touched.
export function children(parent, wanted) {
  let next = parent.firstChild;
  for (const child of wanted) {
    if (child === next) next = next.nextSibling;
    else parent.insertBefore(child, next);
  }
  while (next) {
    const gone = next;
    next = next.nextSibling;
    gone.remove();
  }
}

// Replaces what `element` shows, unless it was made from the same value before.
export function redraw(element, value, make) {
  const key = JSON.stringify(value);
  if (element.madeFrom === key) return;
  element.madeFrom = key;
  element.replaceChildren(...[make(value)].flat().filter(Boolean));
}

let telling = 0;

// Says it to who listens to the page, by its live region.
export function tell(message) {
  const told = document.getElementById("told");
  clearTimeout(telling);
  told.textContent = "";
  telling = setTimeout(() => (told.textContent = message), 50);
}
