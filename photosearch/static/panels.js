// The small windows over the page, and the panel that asks to sign in.

import { button, icon, make } from "./dom.js";
import { shown } from "./paths.js";
import { text } from "./strings.js";

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
  dialog.onclick = (event) => event.target === dialog && dialog.close();
  if (!dialog.open) dialog.showModal();
}

export function openKeys(dialog) {
  const isMac = /Mac|iPhone|iPad/.test(navigator.platform);
  const keys = (names) =>
    names.map((name) => make("kbd", {}, isMac && name === "Ctrl" ? text.macControl : name));
  const rows = text.keys.map(([names, does]) =>
    make("div", {}, make("dt", {}, ...keys(names)), make("dd", {}, does)),
  );
  openPanel(dialog, text.keysTitle, make("dl", { class: "keys" }, ...rows));
}

export function openRejected(dialog, files) {
  const rows = files.map(({ path, reason }) =>
    make("li", {}, make("b", {}, shown(path)), make("span", {}, reason)),
  );
  const advice = make("p", {}, text.rejectedAdvice);
  openPanel(dialog, text.rejectedTitle, advice, make("ul", { class: "files" }, ...rows));
}

export function openPrivacy(dialog, status) {
  const folders = status.libraries.map(({ path, offline }) =>
    make("li", {}, make("b", {}, shown(path)), offline ? make("span", {}, text.folderOffline) : null),
  );
  const fact = (name, value) => make("div", {}, make("dt", {}, name), make("dd", {}, value));
  openPanel(
    dialog,
    text.privacyTitle,
    make("p", {}, text.privacyAdvice),
    make("h3", {}, text.folders),
    make("ul", { class: "files" }, ...folders),
    make(
      "dl",
      { class: "facts" },
      fact(text.indexSize, text.megabytes(status.library_bytes + status.thumbnail_bytes)),
      fact(text.model, status.bundle),
    ),
  );
}

/** The panel for someone without a session. `submit(code)` gets what was pasted. */
export function fillSignIn(section, submit) {
  const field = make("input", {
    id: "code",
    type: "password",
    autocomplete: "off",
    spellcheck: "false",
    required: true,
  });
  const problem = make("p", { class: "problem", role: "alert" });
  const form = make(
    "form",
    { class: "codeform" },
    make("label", { for: "code" }, text.signInLabel),
    make("div", { class: "row" }, field, make("button", { class: "primary" }, text.signInButton)),
    problem,
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    problem.textContent = "";
    submit(codeIn(field.value));
    field.value = "";
  });
  section.replaceChildren(
    make("img", { src: "/static/icon.svg", alt: "", class: "mark", width: "64", height: "64" }),
    make("h2", {}, text.signIn),
    make("p", {}, text.signInAdvice),
    make(
      "p",
      { class: "commands" },
      make("code", {}, text.signInCommand),
      make("span", {}, text.signInOr),
      make("code", {}, text.signInOtherCommand),
    ),
    form,
  );
  return { problem, field };
}

/** What was pasted is a code, a token, or the whole address with one. */
export function codeIn(pasted) {
  return (/#code=([^&\s]+)/.exec(pasted)?.[1] ?? pasted).trim();
}
