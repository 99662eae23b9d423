// "More like this": the photo whose look-alikes are wanted, and its chip in the box.

import { thumbnail } from "./api.js";
import { button, icon, make } from "./dom.js";
import { fileName } from "./paths.js";
import { text } from "./strings.js";

export class Likeness {
  #chips;
  #stop;
  hit = null; // the photo; null: none
  isGroup = false; // of its look-alikes, only those it stands for
  words = ""; // what was in the box before

  /** `stop()` is run by the chip's cross. */
  constructor(chips, { stop }) {
    this.#chips = chips;
    this.#stop = stop;
  }

  begin(hit, { isGroup, words }) {
    if (!this.hit) this.words = words;
    this.hit = hit;
    this.isGroup = isGroup;
    this.#show();
  }

  end() {
    this.hit = null;
    this.isGroup = false;
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
