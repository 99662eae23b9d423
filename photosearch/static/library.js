// The window of folders and settings: add and forget folders, change a setting, look for trouble.

import * as api from "./api.js";
import { button, make } from "./dom.js";
import { openPanel } from "./panels.js";
import { shown } from "./paths.js";
import { text } from "./strings.js";

const COMPLETE_MS = 120; // after a key press, before folders are looked up
const HIDDEN = "is:hidden"; // the search that finds what no other does

export class LibraryPanel {
  #dialog;
  #on;
  #folders = make("ul", { class: "files" });
  #hidden = make("ul", { class: "files" }); // photos that no search shows, and the search that does
  #shown = ""; // the folders listed, so that a status without news redraws nothing

  /** `on`: {attempt(call), say(words), forget(library), isForgotten(id), searchesForgotten(),
   * search(words)}. */
  constructor(dialog, on) {
    this.#dialog = dialog;
    this.#on = on;
  }

  async open(status) {
    const settings = await this.#on.attempt(api.settings());
    if (!settings) return;
    this.#shown = "";
    this.show(status);
    openPanel(
      this.#dialog,
      text.library,
      make("h3", {}, text.folders),
      this.#folders,
      this.#adding(),
      this.#hidden,
      make("h3", {}, text.settings),
      make("div", { class: "settings" }, ...settings.map((each) => this.#setting(each))),
      make(
        "div",
        { class: "deeds" },
        button(text.forgetSearches, () => this.#forgetSearches(), { className: "secondary" }),
        button(text.check, () => this.#check(), { className: "secondary" }),
      ),
    );
  }

  /** The folders as they are now, and how many photos are hidden. */
  show({ libraries, hidden = 0 }) {
    const known = libraries.filter((each) => !this.#on.isForgotten(each.id));
    const key = JSON.stringify([known, hidden]);
    if (key === this.#shown) return;
    this.#shown = key;
    this.#showHidden(hidden);
    this.#folders.replaceChildren(
      ...known.map((library) => {
        const path = shown(library.path);
        const forget = button(text.forget, () => this.#on.forget(library), { className: "small" });
        forget.setAttribute("aria-label", text.forgetFolder(path));
        const away = library.offline ? make("span", {}, text.folderOffline) : null;
        return make("li", { class: "withdeed" }, make("span", {}, make("b", {}, path), away), forget);
      }),
    );
  }

  #showHidden(count) {
    const show = button(text.showHidden, () => {
      this.#dialog.close();
      this.#on.search(HIDDEN);
    }, { className: "small" });
    show.setAttribute("aria-label", text.showHiddenPhotos);
    const row = make("li", { class: "withdeed" }, make("span", {}, text.hiddenPhotos(count)), show);
    this.#hidden.hidden = count === 0;
    this.#hidden.replaceChildren(...(count ? [row] : []));
  }

  #adding() {
    const choices = make("datalist", { id: "folder-choices" });
    const field = make("input", {
      id: "folder",
      type: "text",
      list: "folder-choices",
      autocomplete: "off",
      autocapitalize: "off",
      spellcheck: "false",
      required: true,
    });
    const problem = make("p", { class: "problem", role: "alert" });
    const form = make(
      "form",
      { class: "codeform" },
      make("label", { for: "folder" }, text.addFolderLabel),
      make("div", { class: "row" }, field, make("button", { class: "primary" }, text.add)),
      choices,
      problem,
    );
    const complete = async () => {
      const found = await api.folders(field.value).catch(() => []);
      choices.replaceChildren(...found.map((path) => make("option", { value: path })));
    };
    let timer = 0;
    field.addEventListener("focus", complete);
    field.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(complete, COMPLETE_MS);
    });
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      problem.textContent = "";
      try {
        const added = await api.addFolder(field.value);
        field.value = "";
        this.#on.say(text.added(shown(added.path)));
      } catch (error) {
        if (!(error instanceof api.Refused)) return this.#on.attempt(Promise.reject(error));
        problem.textContent = error.message;
      }
    });
    return form;
  }

  #setting({ name, value, low, high, switch: isSwitch }) {
    const id = `setting-${name}`;
    const field = isSwitch
      ? make("input", { id, type: "checkbox", checked: value === 1 })
      : make("input", { id, type: "number", min: low, max: high, value, inputmode: "numeric" });
    field.addEventListener("change", async () => {
      if (!field.reportValidity()) return;
      const wanted = isSwitch ? Number(field.checked) : field.value;
      if (await this.#on.attempt(api.changeSetting(name, wanted))) this.#on.say(text.saved);
    });
    const label = text.settingNames[name] ?? name.replaceAll("_", " ");
    return make("div", {}, make("label", { for: id }, label), field);
  }

  async #forgetSearches() {
    if (!(await this.#on.attempt(api.forgetSearches()))) return;
    this.#on.searchesForgotten();
    this.#on.say(text.searchesForgotten);
  }

  async #check() {
    this.#on.say(text.checking);
    const found = await this.#on.attempt(api.doctor());
    if (!found) return;
    const troubles = found.findings.filter((each) => !each.ok);
    const rows = troubles.map((each) =>
      make("li", {}, make("b", {}, each.found), make("span", {}, each.advice)),
    );
    const lost = found.unsearchable.length;
    openPanel(
      this.#dialog,
      text.checkTitle,
      ...(found.healthy ? [make("p", {}, text.healthy)] : []),
      make("ul", { class: "files" }, ...rows),
      ...(lost ? [make("p", {}, text.unsearchable(lost))] : []),
    );
  }
}
