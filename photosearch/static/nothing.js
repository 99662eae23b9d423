// In place of photos: why there are none, and what to do about it.

import { button, make } from "./dom.js";
import { shown } from "./paths.js";
import { partsOf, without } from "./pills.js";
import { list, text } from "./strings.js";

const MAX_LOOSER = 3;

/** Nothing matched. `on`: {search(words), showAll()}. */
export function fillNoMatch(panel, { query, answer, waiting, examples }, on) {
  const isSearch = query.text || query.like;
  const words = query.text ? text.noMatch(query.text) : isSearch ? text.noMatchLike : text.allHidden;
  const deed = (label, run, className) => button(label, run, { className });
  const looser = partsOf(answer.chips)
    .slice(0, MAX_LOOSER)
    .map((chip) => [chip.text, without(query.text, chip)])
    .filter(([, rest]) => rest !== "")
    .map(([part, rest]) => deed(text.without(part), () => on.search(rest), "secondary"));
  const anyway =
    answer.hidden > 0 && !query.all ? deed(text.showAnyway, on.showAll, "primary") : null;
  const tries = examples.slice(0, MAX_LOOSER).map(({ query: words }) =>
    deed(words, () => on.search(words), "secondary"),
  );
  panel.replaceChildren(
    make("h2", {}, words),
    ...answer.notes.map((note) => make("p", { class: "said" }, note)),
    make("p", {}, isSearch ? text.noMatchAdvice : text.allHiddenAdvice),
    ...(waiting ? [make("p", {}, text.notIndexed(waiting))] : []),
    make("div", { class: "deeds" }, anyway, ...looser),
    tries.length ? make("div", { class: "deeds tries" }, make("span", {}, text.try), ...tries) : "",
  );
}

/** A library without a searchable photo: still being indexed, or without any. */
export function fillEmpty(panel, status, { isIdle, addFolder }) {
  const folders = list((status?.libraries ?? []).map((each) => shown(each.path)));
  panel.replaceChildren(
    make("img", { src: "/static/icon.svg", alt: "", class: "mark", width: "64", height: "64" }),
    make("h2", {}, isIdle ? text.noPhotos : text.firstPhotos),
    make("p", {}, isIdle ? text.noPhotosAdvice(folders) : text.firstPhotosAdvice),
    isIdle ? button(text.addFolder, addFolder, { className: "secondary" }) : "",
  );
}
