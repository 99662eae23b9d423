// "More like this", and a burst opened up: the photo that is meant, and its chip in the box.

import { thumbnail } from "./api.js";
import { button, icon, make } from "./dom.js";
import { fileName } from "./paths.js";
import { text } from "./strings.js";

export class Likeness {
  #chips;
  #stop;
  #steps = []; // away from the search: [{hit, isGroup, words}], words: in the box before

  /** `stop()` is run by the chip's cross. */
  constructor(chips, { stop }) {
    this.#chips = chips;
    this.#stop = stop;
  }

  /** The photo; null: none. */
  get hit() {
    return this.#steps.at(-1)?.hit ?? null;
  }

  /** Of its look-alikes, only those it stands for? */
  get isGroup() {
    return this.#steps.at(-1)?.isGroup ?? false;
  }

  /** Another photo's look-alikes take the place of the first's: one step back is enough. */
  begin(hit, { isGroup, words }) {
    const last = this.#steps.at(-1);
    const before = last?.isGroup === isGroup ? this.#steps.pop().words : words;
    this.#steps.push({ hit, isGroup, words: before });
    this.#show();
  }

  /** One step back; the words from before it. */
  end() {
    const { words } = this.#steps.pop();
    this.#show();
    return words;
  }

  /** Back at once, whatever was before. */
  forget() {
    this.#steps = [];
    this.#show();
  }

  #show() {
    if (!this.hit) return this.#chips.replaceChildren();
    const name = fileName(this.hit.path);
    const back = this.isGroup ? text.removeSimilar(name) : text.removeLike(name);
    const words = this.isGroup ? text.similarChip(name) : text.likeChip(name);
    const cross = button(back, this.#stop, { leading: icon("close"), hasWords: false });
    const picture = make("img", { src: thumbnail(this.hit.photo_id), alt: "" });
    const shown = make("span", { class: "chipname" }, words);
    this.#chips.replaceChildren(make("span", { class: "chip" }, picture, shown, cross));
  }
}
