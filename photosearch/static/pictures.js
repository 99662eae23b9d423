// Thumbnails: those in and near the window are loaded, and what nobody waits for any more is not.

import { thumbnail } from "./api.js";
import { make } from "./dom.js";

const AHEAD = "600px 0px"; // loaded before they are scrolled to
const TOGETHER_MS = 50; // each time some are put in, their part of the page is drawn again

export class Pictures {
  #watcher = new IntersectionObserver((entries) => this.#seen(entries), { rootMargin: AHEAD });
  #coming = new Map(); // cell -> its image, not there yet
  #ready = []; // [cell, image], to be put in together
  #timer = 0;

  /** Load a cell's thumbnail when it is near. Its colour is painted before that. */
  wait(cell) {
    this.#watcher.observe(cell);
  }

  /** A cell is gone: what is still on its way would only hold up the next answer. */
  forget(cell) {
    this.#watcher.unobserve(cell);
    this.#coming.get(cell)?.removeAttribute("src");
    this.#coming.delete(cell);
  }

  #seen(entries) {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      this.#watcher.unobserve(target);
      this.#load(target);
    }
  }

  /** An image without a picture is drawn as its words: it is put in with the picture only. */
  #load(cell) {
    const image = make("img", { alt: "", decoding: "async", draggable: "false" });
    image.addEventListener("load", () => this.#came(cell, image));
    image.addEventListener("error", () => {
      if (!this.#leave(cell, image)) return;
      cell.classList.add("broken");
      this.#putSoon();
    });
    this.#coming.set(cell, image);
    image.src = thumbnail(cell.dataset.id);
  }

  #leave(cell, image) {
    return this.#coming.get(cell) === image && this.#coming.delete(cell);
  }

  #came(cell, image) {
    if (!this.#leave(cell, image)) return;
    this.#ready.push([cell, image]);
    this.#putSoon();
  }

  #putSoon() {
    if (this.#coming.size === 0) return this.#put();
    this.#timer ||= setTimeout(() => this.#put(), TOGETHER_MS);
  }

  #put() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    for (const [cell, image] of this.#ready.splice(0)) cell.prepend(image);
  }
}
