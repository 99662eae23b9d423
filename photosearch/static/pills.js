// The line over the photos: how the search was understood, ways to go on, or searches to try.

import { thumbnail } from "./api.js";
import { button, icon, make } from "./dom.js";
import { text } from "./strings.js";

const MAX_PAST = 3; // searches made before, beside those to try

/** The parts of a search that are more than plain words, each to change or to take out. */
export const partsOf = (chips) =>
  chips.filter(({ kind, note }) => (kind !== "words" && kind !== "name") || note !== "");

/** A stretch of `words` counted in code points -> [start, end] counted as JavaScript counts. */
export function stretch(words, { start, end }) {
  const points = [...words];
  const from = points.slice(0, start).join("").length;
  return [from, from + points.slice(start, end).join("").length];
}

/** `words` without that stretch, and without the gap it leaves. */
export function without(words, chip) {
  const [start, end] = stretch(words, chip);
  return `${words.slice(0, start)} ${words.slice(end)}`.replace(/\s+/g, " ").trim();
}

/** What a suggestion adds to the words typed; all of it where it begins otherwise. */
export function addition(suggested, typed) {
  const before = typed.slice(0, typed.lastIndexOf(" ") + 1);
  return suggested.startsWith(before) ? suggested.slice(before.length) : suggested;
}

export class Pills {
  #root;
  #on;
  #key = ""; // what is shown, so that news without news redraws nothing

  /** `on`: {edit(chip), remove(chip), choose(query), forget(query)}. */
  constructor(root, on) {
    this.#root = root;
    this.#on = on;
  }

  /** The parts of a search, and ways to go on with what is typed. */
  showSearch(parts, suggestions, typed) {
    const pills = parts.map((chip) => this.#part(chip));
    for (const { text: words, kind } of suggestions) {
      pills.push(this.#suggestion(words, kind, addition(words, typed)));
    }
    this.#fill(parts.length ? text.understood : text.goOn, pills, [parts, suggestions, typed]);
  }

  /** For an empty box: past searches, and some that find something here. */
  showExamples(past, examples) {
    const pills = past
      .slice(0, MAX_PAST)
      .map(({ text: words, kind }) => this.#suggestion(words, kind, words));
    for (const { query, photo_id: id } of examples) {
      const picture = make("img", { src: thumbnail(id), alt: "", width: "24", height: "24" });
      const choose = () => this.#on.choose(query);
      pills.push(make("li", {}, button(query, choose, { className: "try", leading: picture })));
    }
    if (pills.length) pills.unshift(make("li", { class: "before" }, text.try));
    this.#fill(text.examplesLabel, pills, [past, examples]);
  }

  #part(chip) {
    const edit = button(chip.text, () => this.#on.edit(chip), { className: "words" });
    edit.setAttribute("aria-label", text.editPart(chip.text));
    if (chip.note) edit.title = chip.note;
    const remove = button(text.removePart(chip.text), () => this.#on.remove(chip), {
      leading: icon("close"),
      hasWords: false,
    });
    const doubt = chip.note ? icon("warning") : null;
    return make("li", { class: chip.note ? "part doubtful" : "part" }, doubt, edit, remove);
  }

  /** A whole search to take over; one made before can be forgotten. */
  #suggestion(words, kind, shown) {
    const take = button(shown, () => this.#on.choose(words), { className: "try bare" });
    if (kind !== "history") return make("li", {}, take);
    const forget = button(text.forgetSearch(words), () => this.#on.forget(words), {
      leading: icon("close"),
      hasWords: false,
    });
    take.prepend(icon("past"));
    return make("li", { class: "past" }, take, forget);
  }

  #fill(label, pills, shown) {
    const key = JSON.stringify([label, shown]);
    if (key === this.#key) return;
    this.#key = key;
    this.#root.setAttribute("aria-label", label);
    this.#root.hidden = pills.length === 0;
    this.#root.replaceChildren(...pills);
  }
}
