// Thumbnails: those in and near the window are loaded, and what nobody waits for any more is not.

import { thumbnail } from "./api.js";

const AHEAD = "600px 0px"; // loaded before they are scrolled to

export class Pictures {
  #watcher = new IntersectionObserver((entries) => this.#seen(entries), { rootMargin: AHEAD });

  /** Load a cell's thumbnail when it is near. Its colour is painted before that. */
  wait(cell) {
    this.#watcher.observe(cell);
  }

  /** A cell is gone: what is still on its way would only hold up the next answer. */
  forget(cell) {
    this.#watcher.unobserve(cell);
    const image = cell.firstElementChild;
    if (!image.complete) image.removeAttribute("src");
  }

  #seen(entries) {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      this.#watcher.unobserve(target);
      target.firstElementChild.src = thumbnail(target.dataset.id);
    }
  }
}
