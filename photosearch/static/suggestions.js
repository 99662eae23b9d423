// Ways to go on with what is typed: past searches, and words of this library.

import * as api from "./api.js";

const PAUSE_MS = 120; // after a key press: photos first
const MAX = 4;

export class Suggestions {
  #timer = 0;
  #number = 0; // of the newest question
  #changed;
  typed = ""; // what `found` goes on from
  found = []; // [{text, kind}]

  /** `changed()` tells that there are others. */
  constructor(changed) {
    this.#changed = changed;
  }

  /** Look for some soon; until then those stay that still go on from what is typed. */
  ask(typed) {
    if (typed === this.typed && this.#number) return;
    clearTimeout(this.#timer);
    const number = ++this.#number;
    const begins = typed.toLowerCase();
    this.found = this.found.filter((each) => each.text.toLowerCase().startsWith(begins));
    this.typed = typed;
    this.#timer = setTimeout(async () => {
      const found = await api.suggestions(typed, MAX).catch(() => []); // a nicety: no word of it
      if (number !== this.#number) return;
      this.found = found;
      this.#changed();
    }, PAUSE_MS);
  }

  /** Look again, though nothing was typed. */
  renew() {
    const { typed } = this;
    this.typed = null;
    this.found = [];
    this.ask(typed);
  }
}
