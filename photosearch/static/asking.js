// Typing -> at most one question under way, and only the newest answer is heard.

const PAUSE_MS = 60; // shorter than the gap between two key presses of a fast typist

export class Asking {
  #send;
  #heard;
  #failed;
  #number = 0;
  #timer = 0;
  #sentAt = -Infinity;
  #aborter = null; // of the question under way

  /** `send(query, signal)` answers a promise; `heard(answer, query)` gets only the newest. */
  constructor({ send, heard, failed }) {
    this.#send = send;
    this.#heard = heard;
    this.#failed = failed;
  }

  /** Counts the questions: an answer to an earlier one is stale. */
  get number() {
    return this.#number;
  }

  get isUnderWay() {
    return this.#timer !== 0 || this.#aborter !== null;
  }

  /** Ask soon: at once after a pause in typing, else when the next pause comes. */
  soon(query) {
    const wait = performance.now() - this.#sentAt > PAUSE_MS && !this.#timer ? 0 : PAUSE_MS;
    this.#cancel();
    if (wait === 0) return void this.now(query);
    this.#timer = setTimeout(() => this.now(query), wait);
  }

  async now(query) {
    this.#cancel();
    const number = this.#number;
    const aborter = (this.#aborter = new AbortController());
    this.#sentAt = performance.now();
    try {
      const answer = await this.#send(query, aborter.signal);
      if (number !== this.#number) return;
      this.#aborter = null;
      this.#heard(answer, query);
    } catch (error) {
      if (number !== this.#number) return;
      this.#aborter = null;
      this.#failed(error);
    }
  }

  #cancel() {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#number += 1;
    this.#aborter?.abort();
    this.#aborter = null;
  }
}
