// Short notes over the page: what was done, what went wrong, and a way to take it back.

import { button, make } from "./dom.js";
import { text } from "./strings.js";

const SHOWN_MS = 2500;
const TROUBLE_MS = 3 * SHOWN_MS;
export const UNDO_MS = 10_000;

export class Toasts {
  #root;
  #places;
  #undo = null; // of the note that offers it, while nothing was typed since

  /** `places()` names open dialogs, topmost first: what is said must lie above them. */
  constructor(root, places) {
    this.#root = root;
    this.#places = places;
    for (const dialog of places()) {
      dialog.addEventListener("close", () => root.append(...notesOf(dialog)));
    }
  }

  say(words) {
    this.#show(make("p", { class: "toast", role: "status" }, words), SHOWN_MS);
  }

  trouble(words) {
    this.#show(make("p", { class: "toast trouble", role: "alert" }, words), TROUBLE_MS);
  }

  /** Say what is about to be done; `undo` instead of it, for ten seconds. */
  undoable(words, undo) {
    const note = make("p", { class: "toast", role: "status" }, words);
    const take = () => {
      if (!note.isConnected) return false;
      note.remove();
      undo();
      return true;
    };
    this.#undo = take;
    note.append(button(text.undo, take));
    this.#show(note, UNDO_MS);
  }

  /** Something is typed: what Ctrl+Z undoes is that. */
  forgetKey() {
    this.#undo = null;
  }

  /** Undo what a note still offers to; answers whether one did. */
  undo() {
    return this.#undo?.() ?? false;
  }

  #show(note, milliseconds) {
    const place = this.#places().find((dialog) => dialog.open) ?? this.#root;
    [this.#root, place].flatMap(notesOf).forEach((old) => old.remove());
    place.append(note);
    setTimeout(() => note.remove(), milliseconds);
  }

  /** A note that stays until it is no longer true. */
  showDown() {
    if (this.#root.querySelector(".down")) return;
    this.#root.append(make("p", { class: "toast down", role: "status" }, text.down));
  }

  /** Answers whether there was such a note. */
  hideDown() {
    const note = this.#root.querySelector(".down");
    note?.remove();
    return note !== null;
  }

  clear() {
    this.#root.replaceChildren();
  }
}

const notesOf = (place) => [...place.querySelectorAll(":scope > .toast:not(.down)")];
