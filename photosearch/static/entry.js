// The way in: a code from the address, or what someone without a session pastes.

import * as api from "./api.js";
import { make } from "./dom.js";
import { text } from "./strings.js";

export class Entry {
  #section;
  #field;
  #problem;
  #isGone = false; // everything was deleted, and the section says so
  #on;

  /** `on`: {entered({atSettings}), refused()}; `entered()` is told where the page may go on as it
   * was, `atSettings` where the address asked for those. */
  constructor(section, on) {
    this.#section = section;
    this.#on = on;
    window.addEventListener("hashchange", () => {
      const code = takeCode();
      if (code) this.#enter(code);
    });
  }

  /** With the code in the address, where there is one. */
  start() {
    const atSettings = location.hash.endsWith("&settings");
    const code = takeCode();
    if (code) this.#enter(code, { atSettings });
    else this.#on.entered({});
  }

  get isAsked() {
    return !this.#section.hidden;
  }

  /** Ask for a code; `takesFocus`: nobody is typing elsewhere. */
  ask({ takesFocus }) {
    if (this.isAsked) return;
    if (!this.#field?.isConnected) this.#fill();
    this.#section.hidden = false;
    if (takesFocus) this.#field.focus();
  }

  close() {
    this.#section.hidden = true;
  }

  /** Exchange a code for a session. */
  async #enter(code, wishes = {}) {
    try {
      await api.login(code);
    } catch (error) {
      if (this.#isGone) this.close(); // someone wants to begin again: the form takes its place
      this.#isGone = false;
      this.#on.refused();
      const isDown = error instanceof api.Unreachable;
      this.#problem.textContent = isDown ? text.notRunning : error.message;
      return;
    }
    if (this.#isGone) location.reload(); // nothing of what was deleted is to be seen again
    else this.#on.entered(wishes);
  }

  #fill() {
    this.#field = make("input", {
      id: "code",
      type: "password",
      autocomplete: "off",
      spellcheck: "false",
      required: true,
    });
    this.#problem = make("p", { class: "problem", role: "alert" });
    const form = make(
      "form",
      { class: "codeform" },
      make("label", { for: "code" }, text.signInLabel),
      make(
        "div",
        { class: "row" },
        this.#field,
        make("button", { class: "primary" }, text.signInButton),
      ),
      this.#problem,
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#problem.textContent = "";
      this.#enter(codeIn(this.#field.value));
      this.#field.value = "";
    });
    this.#section.replaceChildren(
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
  }

  /** Everything was deleted: nothing is left to enter. */
  showGone() {
    this.#section.replaceChildren(
      make("img", { src: "/static/icon.svg", alt: "", class: "mark", width: "64", height: "64" }),
      make("h2", {}, text.deleted),
      make("p", {}, text.deletedAdvice),
      make("p", { class: "commands" }, make("code", {}, text.startCommand)),
    );
    this.#isGone = true;
    this.#section.hidden = false;
  }
}

/** What was pasted is a code, a token, or the whole address with one. */
const codeIn = (pasted) => (/#code=([^&\s]+)/.exec(pasted)?.[1] ?? pasted).trim();

/** The code in the address is used once, and must not stay in the history. */
function takeCode() {
  const code = location.hash.startsWith("#code=") ? codeIn(location.hash) : null;
  if (location.hash) history.replaceState(null, "", location.pathname + location.search);
  return code;
}
