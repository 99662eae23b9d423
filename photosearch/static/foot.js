// The line at the bottom: what indexing does, what needs attention, where the photos are.

import { button, icon, make, rename } from "./dom.js";
import { shown } from "./paths.js";
import { list, text } from "./strings.js";

const ANNOUNCE_MS = 10_000;

export class Foot {
  #progress = make("progress", { "aria-label": text.progressLabel, max: "1" });
  #words = make("span", { class: "words" });
  #toggle;
  #rejected;
  #offline;
  #said = -Infinity;
  #wasWorking = false;
  #on;

  /** `on`: {pause(), resume(), rejected(), offline(), library(), privacy(), say(text)}. */
  constructor(root, on) {
    this.#on = on;
    this.#toggle = button(text.pause, () => (this.isPaused ? on.resume() : on.pause()), {
      className: "round small",
      leading: icon("pause"),
      hasWords: false,
    });
    this.#rejected = button("", on.rejected, { className: "quiet trouble" });
    this.#offline = button("", on.offline, { className: "quiet trouble" });
    const library = button(text.library, on.library, {
      className: "quiet",
      leading: icon("settings"),
    });
    const privacy = button(text.privacy, on.privacy, {
      className: "quiet",
      leading: icon("lock"),
    });
    root.append(
      make("span", { class: "indexing" }, this.#toggle, this.#progress, this.#words),
      make("span", { class: "troubles" }, this.#offline, this.#rejected),
      make("span", { class: "doors" }, library, privacy),
    );
  }

  isPaused = false;

  show(status) {
    const { state, done, to_do: all, eta_seconds: eta } = status.indexing;
    const isWorking = state === "working";
    this.isPaused = state === "paused";
    const left = isWorking && eta !== null && done < all ? text.timeLeft(eta) : "";
    const line = wordsFor(status, left);
    if (this.#words.textContent !== line) this.#words.textContent = line;
    this.#progress.hidden = !(isWorking && all > 0);
    this.#progress.value = all ? done / all : 0;
    this.#showToggle(isWorking);
    this.#showTroubles(status);
    this.#announce(status, isWorking, left);
  }

  #showToggle(isWorking) {
    const label = this.isPaused ? text.resume : text.pause;
    this.#toggle.hidden = !isWorking && !this.isPaused;
    if (this.#toggle.title === label) return;
    rename(this.#toggle, label);
    this.#toggle.replaceChildren(icon(this.isPaused ? "resume" : "pause"));
  }

  #showTroubles({ failed, libraries }) {
    this.#rejected.hidden = failed === 0;
    this.#rejected.replaceChildren(icon("warning"), text.rejected(failed));
    const away = libraries.filter((each) => each.offline).map((each) => shown(each.path));
    this.#offline.hidden = away.length === 0;
    if (away.length) this.#offline.replaceChildren(icon("drive"), text.offlineRoots(list(away)));
  }

  /** Screen readers hear of progress at most every ten seconds, and of the end. */
  #announce({ searchable, indexing }, isWorking, left) {
    const finished = this.#wasWorking && indexing.state === "idle";
    this.#wasWorking = !finished && (this.#wasWorking || (isWorking && indexing.to_do > 0));
    const now = performance.now();
    if (finished) this.#on.say(text.readyAnnounced(searchable));
    else if (isWorking && indexing.to_do > 0 && now - this.#said >= ANNOUNCE_MS) {
      this.#on.say(text.progressAnnounced(indexing.done, indexing.to_do, left));
    } else return;
    this.#said = now;
  }
}

function wordsFor({ searchable, indexing }, left) {
  const { state, done, to_do: all } = indexing;
  if (state === "idle") return text.ready(searchable);
  if (state === "paused") return done < all ? text.pausedAt(done, all) : text.paused;
  return all > 0 ? text.indexed(done, all, left) : text.looking;
}
