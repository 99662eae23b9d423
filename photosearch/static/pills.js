// The line over the photos: how the search was understood, or searches worth trying.

import { thumbnail } from "./api.js";
import { button, icon, make } from "./dom.js";
import { text } from "./strings.js";

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

/** Fill `root` with one pill for each part. `on`: {edit(chip), remove(chip)}. */
export function showParts(root, chips, on) {
  const pills = partsOf(chips).map((chip) => {
    const edit = button(chip.text, () => on.edit(chip), { className: "words" });
    edit.setAttribute("aria-label", text.editPart(chip.text));
    if (chip.note) edit.title = chip.note;
    const remove = button(text.removePart(chip.text), () => on.remove(chip), {
      leading: icon("close"),
      hasWords: false,
    });
    const doubt = chip.note ? icon("warning") : null;
    return make("li", { class: chip.note ? "part doubtful" : "part" }, doubt, edit, remove);
  });
  fill(root, text.understood, pills);
}

/** Fill `root` with searches to try. `choose(query)`. */
export function showExamples(root, examples, choose) {
  const pills = examples.map(({ query, photo_id: id }) => {
    const picture = make("img", { src: thumbnail(id), alt: "", width: "24", height: "24" });
    const pill = button(query, () => choose(query), { className: "try", leading: picture });
    return make("li", {}, pill);
  });
  fill(root, text.examplesLabel, pills, make("li", { class: "before" }, text.try));
}

function fill(root, label, pills, before = null) {
  root.setAttribute("aria-label", label);
  root.hidden = pills.length === 0;
  root.replaceChildren(...(pills.length && before ? [before] : []), ...pills);
}
