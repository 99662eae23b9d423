// Folders that are about to be forgotten: ten seconds are left for second thoughts.

import { UNDO_MS } from "./toasts.js";

export class Forgetting {
  #timers = new Map(); // folder id -> the timer after which it is forgotten, 0 while it is asked for
  #on;

  /** `on`: {forget(id), changed()}. Who closes the page has had second thoughts enough. */
  constructor(on) {
    this.#on = on;
    window.addEventListener("pagehide", () => this.#allNow());
  }

  has(id) {
    return this.#timers.has(id);
  }

  /** Forget a folder after a while; returns how to undo it until then. */
  soon(id) {
    this.#timers.set(id, setTimeout(() => this.#now(id), UNDO_MS));
    this.#on.changed();
    return () => this.#undo(id);
  }

  #undo(id) {
    clearTimeout(this.#timers.get(id));
    this.#timers.delete(id);
    this.#on.changed();
  }

  async #now(id) {
    this.#timers.set(id, 0);
    await this.#on.forget(id);
    this.#timers.delete(id);
    this.#on.changed();
  }

  #allNow() {
    for (const [id, timer] of this.#timers) {
      if (!timer) continue; // under way: asked twice, the second might meet a folder named anew
      clearTimeout(timer);
      this.#now(id);
    }
  }
}
