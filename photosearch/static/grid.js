// The photos: one cell each, kept by photo id, so that what stays is not loaded again.

import { icon, make } from "./dom.js";
import { fileName } from "./paths.js";
import { Pictures } from "./pictures.js";
import { day, isRightToLeft, text } from "./strings.js";
import { afterRest } from "./timing.js";

const REST_MS = 300; // typing goes on sooner than that; then nobody will see what is below the window

export const altOf = (hit) =>
  text.photoAlt(fileName(hit.path), day(hit.taken), hit.place, hit.offline, hit.similar);

export class Grid {
  #root;
  #matches = make("div", { class: "cells", role: "group", "aria-label": text.matchesLabel });
  // A list box may hold groups and options only: the line is for the eye, its words name the group.
  #divider = make("div", { class: "divider", "aria-hidden": "true" }, text.lessLikely);
  #rest = make("div", { class: "cells", role: "group", "aria-label": text.lessLikely });
  #cells = new Map(); // photo id -> cell
  #pictures = new Pictures();
  #activated;
  #screen = null; // what fits the window: {columns, row and gap (px), cells}; null until measured
  #stopWaiting = () => {}; // for the rest after which the other cells follow

  #isPartial = false; // are some of the cells still to follow?

  hits = [];
  active = -1; // index into hits of the chosen photo; -1: none

  /** `activated(cell id or null)` tells the box which option is the chosen one. */
  constructor(root, { activated }) {
    this.#root = root;
    this.#activated = activated;
    root.setAttribute("aria-label", text.gridLabel);
    root.append(this.#matches, this.#divider, this.#rest);
    window.addEventListener("resize", () => (this.#screen = null));
    window.addEventListener("scroll", () => this.#scrolled(), { passive: true });
  }

  get activeHit() {
    return this.hits[this.active] ?? null;
  }

  /** What walk() needs to know. */
  get shape() {
    const cells = this.#matches.hidden ? this.#rest : this.#matches;
    const columns = getComputedStyle(cells).gridTemplateColumns.split(" ").length;
    const isMirrored = isRightToLeft;
    return { columns, first: this.#firstLess, total: this.hits.length, isMirrored };
  }

  get #activeCell() {
    return this.#cells.get(this.activeHit?.photo_id);
  }

  get #firstLess() {
    const at = this.hits.findIndex((hit) => !hit.relevant);
    return at < 0 ? this.hits.length : at;
  }

  /**
   * Show these hits. The chosen photo stays chosen, by id, where it is still among them. `isNew`:
   * seen from the top; the photos that fit the window come first, the others when typing rests.
   */
  paint(hits, { isNew = false } = {}) {
    const chosen = this.activeHit?.photo_id;
    const isSame = hits.length === this.hits.length && hits.every(isAt(this.hits));
    const staying = new Set(hits.map((hit) => hit.photo_id));
    for (const [id, cell] of this.#cells) {
      if (staying.has(id)) continue;
      this.#pictures.forget(cell);
      this.#cells.delete(id);
    }
    this.hits = hits;
    const first = this.#firstLess;
    this.#matches.hidden = first === 0;
    this.#divider.hidden = this.#rest.hidden = first === hits.length;
    this.#root.hidden = hits.length === 0;
    const isWhole = !isNew || !this.#screen || (isSame && !this.#isPartial);
    this.#put(isWhole ? hits.length : this.#screen.cells);
    this.activate(hits.findIndex((hit) => hit.photo_id === chosen), { scroll: false });
  }

  /** Have the first `count` cells in the page, and room for the others until they follow. */
  #put(count) {
    this.#stopWaiting();
    const cells = this.hits.slice(0, count).map((hit, index) => this.#cell(hit, index));
    const first = this.#firstLess;
    fill(this.#matches, cells.slice(0, first));
    fill(this.#rest, cells.slice(first));
    this.#isPartial = cells.length < this.hits.length;
    this.#root.style.minHeight = this.#isPartial ? this.#room(first) : "";
    if (this.#isPartial || (!this.#screen && cells.length)) {
      this.#stopWaiting = afterRest(() => this.#complete(), this.#screen ? REST_MS : 0);
    }
  }

  /** The others as well: once typing rests, or when somebody needs one of them. */
  #complete() {
    this.#screen ??= this.#measured(); // before anything changes: then it costs no layout
    this.#put(this.hits.length);
    if (!this.#screen) this.#stopWaiting(); // hidden: measured after another paint
  }

  #scrolled() {
    if (this.#isPartial && window.scrollY > 0) this.#complete();
  }

  #measured() {
    const { columns } = this.shape;
    const [cell] = this.#root.getElementsByClassName("cell");
    const gap = parseFloat(getComputedStyle(cell.parentElement).rowGap);
    const { height } = cell.getBoundingClientRect();
    if (height === 0) return null;
    const row = height + gap;
    const top = this.#root.getBoundingClientRect().top + window.scrollY;
    const rows = Math.ceil(Math.max(window.innerHeight - top, 0) / row) + 1;
    return { columns, row, gap, cells: columns * rows };
  }

  /** Of all cells, `first` of them above the line. */
  #room(first) {
    const { columns, row, gap } = this.#screen;
    const rows = Math.ceil(first / columns) + Math.ceil((this.hits.length - first) / columns);
    return `${rows * row - gap}px`;
  }

  /** Choose a photo; -1 for none. */
  activate(index, { scroll = true } = {}) {
    for (const cell of this.#root.querySelectorAll("[aria-selected=true]")) {
      cell.setAttribute("aria-selected", "false");
    }
    this.active = index;
    if (index >= 0 && !this.#activeCell?.isConnected) this.#complete();
    const cell = this.#activeCell;
    cell?.setAttribute("aria-selected", "true");
    if (scroll) cell?.scrollIntoView({ block: "nearest" });
    this.#activated(cell?.id ?? null);
  }

  hitAt(target) {
    return this.hits[this.indexAt(target)] ?? null;
  }

  indexAt(target) {
    const id = Number(target.closest?.(".cell")?.dataset.id);
    return this.hits.findIndex((hit) => hit.photo_id === id);
  }

  /** A visible photo to keep in place while others come and go: {id, top}, or null. */
  anchor() {
    if (!this.hits.length) return null;
    this.#complete();
    const chosen = this.activeHit?.photo_id;
    const ids = chosen === undefined ? this.hits.map((hit) => hit.photo_id) : [chosen];
    const id = ids.find((each) => this.#cells.get(each).getBoundingClientRect().bottom > 0);
    return id === undefined ? null : { id, top: this.#top(id) };
  }

  restore(anchor) {
    const top = anchor && this.#top(anchor.id);
    if (anchor && top !== null && window.scrollY > 0) window.scrollBy(0, top - anchor.top);
  }

  #cell(hit, index) {
    let cell = this.#cells.get(hit.photo_id);
    if (!cell) {
      this.#cells.set(hit.photo_id, (cell = newCell(hit)));
      if (index >= this.#screen?.cells) cell.classList.add("below");
      this.#pictures.wait(cell);
    }
    return dress(cell, hit);
  }

  #top(id) {
    return this.#cells.get(id)?.getBoundingClientRect().top ?? null;
  }
}

const isAt = (hits) => (hit, index) => hit.photo_id === hits[index].photo_id;

/** Put exactly these cells in. Nothing that is already in its place is touched. */
function fill(parent, cells) {
  const present = parent.children;
  const isPrefix = present.length <= cells.length && [...present].every((c, i) => c === cells[i]);
  if (isPrefix) parent.append(...cells.slice(present.length));
  // Taken out and put back at once, a cell does not count as moved: no layout shift.
  else parent.replaceChildren(...cells);
}

function newCell(hit) {
  const caption = make("span", { class: "caption", "aria-hidden": "true" }, make("b"), make("span"));
  const cell = make(
    "div",
    {
      class: "cell",
      role: "option",
      id: `photo-${hit.photo_id}`,
      "aria-selected": "false",
      draggable: "true",
    },
    caption,
  );
  cell.dataset.id = hit.photo_id;
  if (hit.colour) cell.style.backgroundColor = hit.colour; // until the photo is there
  return cell;
}

/** Bring a cell's words up to date with its hit. */
function dress(cell, hit) {
  const label = altOf(hit);
  if (cell.ariaLabel === label && cell.classList.contains("offline") === hit.offline) return cell;
  cell.ariaLabel = label;
  const caption = cell.querySelector(".caption");
  caption.children[0].textContent = fileName(hit.path);
  caption.children[1].textContent = day(hit.taken);
  cell.classList.toggle("offline", hit.offline);
  cell.querySelectorAll(".badge").forEach((badge) => badge.remove());
  if (hit.similar) {
    const stack = make("span", { class: "badge stack", "aria-hidden": "true" }, icon("like"));
    stack.append(text.similarShort(hit.similar));
    cell.append(stack);
  }
  if (hit.offline) {
    cell.append(make("span", { class: "badge", "aria-hidden": "true" }, icon("drive"), text.offline));
  }
  return cell;
}
