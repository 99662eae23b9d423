// Building elements. Text only ever becomes text: nothing here parses HTML.

export const byId = (id) => document.getElementById(id);

/** An element with attributes (null and false: left out) and children (text or elements). */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === false) continue;
    element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** A button. With `leading` alone its label is heard and shown as a tooltip. */
export function button(label, onClick, { className = null, leading = null, hasWords = true } = {}) {
  const element = make("button", { type: "button", class: className }, leading);
  if (hasWords) element.append(make("span", { class: "label" }, label));
  else rename(element, label);
  element.addEventListener("click", onClick);
  return element;
}

/** Name a button that shows no words. */
export function rename(element, label) {
  element.setAttribute("aria-label", label);
  element.title = label;
}

const SVG = "http://www.w3.org/2000/svg";
const SHAPES = {
  search: "M11 4a7 7 0 1 1 0 14a7 7 0 0 1 0-14M16.2 16.2L21 21",
  close: "M6 6l12 12M18 6L6 18",
  previous: "M15 5l-7 7l7 7",
  next: "M9 5l7 7l-7 7",
  open: "M13 5h6v6M19 5l-9 9M16 14v5H5V8h5",
  folder: "M3.5 18.5v-12h6l2 2.5h9v9.5z",
  like: "M4 7.5h11v11H4zM9 4.5h11v11",
  pause: "M9 6v12M15 6v12",
  resume: "M8 5.5v13l10-6.5z",
  lock: "M6.5 11h11v8.5h-11zM9 11V8a3 3 0 0 1 6 0v3",
  warning: "M12 4.5l8.5 15h-17zM12 10.5v4M12 17v.1",
  settings: "M4 7h9M19 7h1M4 17h1M11 17h9M16 4.5v5M8 14.5v5",
  past: "M12 4.5a7.5 7.5 0 1 1 0 15a7.5 7.5 0 0 1 0-15M12 8.5v4l2.8 1.7",
  hide: "M3.5 12c5-7.5 12-7.5 17 0c-5 7.5-12 7.5-17 0M12 9.2a2.8 2.8 0 1 1 0 5.6a2.8 2.8 0 0 1 0-5.6M5 20L19 4",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  drive: "M4 14h16v5H4zM4 14l3-8.5h10l3 8.5M16.5 16.5v.1",
};

/** A line drawing; always beside or inside something that has a name. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  path.setAttribute("d", SHAPES[name]);
  svg.append(path);
  return svg;
}
