// The small windows over the page, and the panel that asks to sign in.

import { button, icon, make } from "./dom.js";
import { shown } from "./paths.js";
import { text } from "./strings.js";

const MAX_LISTED = 200;

/** Fill a dialog and open it. Escape, the cross and a click beside it close it. */
export function openPanel(dialog, title, ...content) {
  const cross = button(text.close, () => dialog.close(), {
    className: "round",
    leading: icon("close"),
    hasWords: false,
  });
  const heading = make("h2", { id: "panel-title" }, title);
  dialog.setAttribute("aria-labelledby", "panel-title");
  dialog.replaceChildren(
    make("div", { class: "sheet" }, make("div", { class: "sheethead" }, heading, cross), ...content),
  );
  dialog.onclick = (event) => {
    if (event.target === dialog) dialog.close(); // an answer of false would undo every click in it
  };
  if (!dialog.open) dialog.showModal();
}

const fact = (name, value) => make("div", {}, make("dt", {}, name), make("dd", {}, value));
export const facts = (...rows) => make("dl", { class: "facts" }, ...rows.map((row) => fact(...row)));

export function openKeys(dialog) {
  const isMac = /Mac|iPhone|iPad/.test(navigator.platform);
  const keys = (names) =>
    names.map((name) => make("kbd", {}, isMac && name === "Ctrl" ? text.macControl : name));
  const rows = text.keys.map(([names, does]) =>
    make("div", {}, make("dt", {}, ...keys(names)), make("dd", {}, does)),
  );
  const list = make("dl", { class: "keys" }, ...rows);
  openPanel(dialog, text.keysTitle, list, make("p", {}, text.dragHint));
}

/** `tryAgain()` is the one thing to do about them. */
export function openRejected(dialog, files, tryAgain) {
  const rows = files
    .slice(0, MAX_LISTED)
    .map(({ path, reason }) =>
      make("li", {}, make("b", {}, shown(path)), make("span", {}, reason)),
    );
  const more = files.length - rows.length;
  openPanel(
    dialog,
    text.rejectedTitle,
    make("p", {}, text.rejectedAdvice),
    make("ul", { class: "files" }, ...rows),
    ...(more > 0 ? [make("p", {}, text.rejectedMore(more))] : []),
    doing(dialog, text.tryAgain, tryAgain),
  );
}

/** Folders that are away. `lookAgain()` is the one thing to do about them. */
export function openOffline(dialog, libraries, lookAgain) {
  const rows = libraries
    .filter((each) => each.offline)
    .map(({ path }) => make("li", {}, make("b", {}, shown(path))));
  openPanel(
    dialog,
    text.offlineTitle,
    make("p", {}, text.offlineRootsAdvice),
    make("ul", { class: "files" }, ...rows),
    doing(dialog, text.lookAgain, lookAgain),
  );
}

/** The button that ends a panel by doing something. */
function doing(dialog, label, run) {
  const act = button(label, () => {
    dialog.close();
    run();
  }, { className: "primary" });
  return make("div", { class: "deeds" }, act);
}

/** What leaves this computer: numbers, not promises. `erase()` leads to deleting what is kept. */
export function openPrivacy(dialog, counted, { model, erase }) {
  const told = (value) => (value === null ? text.notTold : String(value));
  const outside = (counted.open_outside ?? 0) + counted.attempts_outside;
  openPanel(
    dialog,
    text.privacyTitle,
    make("p", {}, text.privacyAdvice),
    facts(
      [text.openOutside, told(counted.open_outside)],
      [text.attemptsOutside(text.sinceStart(counted.seconds)), String(counted.attempts_outside)],
      [text.listeningOutside, told(counted.listening_outside)],
      ...(outside === 0 ? [[text.bytesSent, "0"]] : []),
    ),
    make("h3", {}, text.kept),
    facts(
      [text.indexSize, text.megabytes(counted.library_bytes)],
      [text.thumbnailSize, text.megabytes(counted.thumbnail_bytes)],
      [text.logSize, text.megabytes(counted.log_bytes)],
      [text.home, make("span", { class: "path" }, shown(counted.home))],
      [text.model, make("span", { class: "path" }, model)],
    ),
    make("div", { class: "deeds" }, button(text.deleteAll, erase, { className: "secondary" })),
  );
}

/** Deleting everything takes a word typed in full: no slip does it. */
export function openErase(dialog, home, erase) {
  const field = make("input", {
    id: "delete-word",
    type: "text",
    autocomplete: "off",
    autocapitalize: "off",
    spellcheck: "false",
  });
  const act = make("button", { class: "primary danger", disabled: true }, text.deleteNow);
  const isMeant = () => field.value.trim().toLowerCase() === text.deleteWord.toLowerCase();
  field.addEventListener("input", () => (act.disabled = !isMeant()));
  const form = make(
    "form",
    { class: "codeform" },
    make("label", { for: "delete-word" }, text.deleteLabel(text.deleteWord)),
    make("div", { class: "row" }, field, act),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (isMeant()) erase();
  });
  openPanel(dialog, text.deleteTitle, make("p", {}, text.deleteAdvice(shown(home))), form);
  field.focus();
}
