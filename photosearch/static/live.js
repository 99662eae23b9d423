// News from the daemon while the page is visible, and whether it is there at all.

import * as api from "./api.js";

const RETRY_MS = [500, 1000, 2000, 4000];

export class Live {
  #source = null;
  #timer = 0;
  #failures = 0;
  #on;

  /** `on`: {status(reply), up(), down(), signedOut()}. */
  constructor(on) {
    this.#on = on;
    document.addEventListener("visibilitychange", () => {
      if (!this.wanted) return;
      // Browsers allow six connections to one host, and each open stream holds one.
      if (document.hidden) this.#close();
      else this.#connect();
    });
  }

  wanted = false;

  start() {
    this.wanted = true;
    this.#failures = 0;
    if (!document.hidden) this.#connect();
  }

  stop() {
    this.wanted = false;
    this.#close();
  }

  /** A call elsewhere failed: find out what is the matter now. */
  async check() {
    if (!this.wanted) return;
    this.#close();
    try {
      const reply = await api.status();
      this.#on.up();
      this.#on.status(reply);
    } catch (error) {
      if (error instanceof api.SignedOut) return this.#on.signedOut();
      if (error instanceof api.Unreachable) this.#on.down();
    }
    if (!this.wanted || document.hidden) return;
    const wait = RETRY_MS[Math.min(this.#failures++, RETRY_MS.length - 1)];
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#connect(), wait);
  }

  #connect() {
    this.#close();
    const source = (this.#source = api.events());
    source.addEventListener("status", (event) => {
      if (source !== this.#source) return;
      this.#failures = 0;
      this.#on.up();
      this.#on.status(JSON.parse(event.data));
    });
    // EventSource does not say whether it was refused or lost; a plain call does.
    source.onerror = () => source === this.#source && this.check();
  }

  #close() {
    clearTimeout(this.#timer);
    this.#source?.close();
    this.#source = null;
  }
}
