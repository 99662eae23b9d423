// One photo, large, over the page. Shows and reports; app.js decides.

import { picture, thumbnail } from "./api.js";
import { button, icon, make } from "./dom.js";
import { altOf } from "./grid.js";
import { fileName, folderName } from "./paths.js";
import { moment, text } from "./strings.js";

// Holding an arrow key must not make the daemon decode every photo passed on the way.
const LARGE_AFTER_MS = 120;
const MIN_SIDE_PX = 480; // smaller photos are enlarged to this

export class Preview {
  #dialog;
  #on;
  #timer = 0;
  #frame = make("div", { class: "frame" });
  #stage = make("div", { class: "stage", tabindex: "-1" }, this.#frame);
  #name = make("h2");
  #facts = make("p", { class: "facts" });
  #why = make("ul", { class: "why", "aria-label": text.why });
  #folder = make("p", { class: "folder" });
  #similar = button("", () => this.#on.group(this.hit), { className: "tool" });
  #hide = button("", () => this.#on.hide(this.hit), { className: "tool", leading: icon("hide") });
  #previous;
  #next;
  hit = null; // the photo shown; null: closed

  /** `on`: {move(step), open(hit), reveal(hit), copy(hit), copyPath(hit), hide(hit), like(hit),
   * group(hit), closed(), keys(), undo()}. */
  constructor(dialog, on) {
    this.#dialog = dialog;
    this.#on = on;
    this.#previous = this.#arrow("previous", -1);
    this.#next = this.#arrow("next", 1);
    dialog.append(this.#bar(), this.#previous, this.#stage, this.#next);
    dialog.addEventListener("close", () => this.#closed());
    dialog.addEventListener("keydown", (event) => this.#keydown(event));
    dialog.addEventListener("click", (event) => this.#click(event));
  }

  #bar() {
    const act = (label, shape, run) =>
      button(label, run, { className: "tool", leading: icon(shape) });
    return make(
      "div",
      { class: "previewbar" },
      make("div", { class: "about" }, this.#name, this.#facts, this.#folder, this.#why),
      this.#similar,
      act(text.moreLikeThis, "like", () => this.#on.like(this.hit)),
      act(text.copy, "copy", () => this.#on.copy(this.hit)),
      act(text.open, "open", () => this.#on.open(this.hit)),
      act(text.reveal, "folder", () => this.#on.reveal(this.hit)),
      this.#hide,
      button(text.close, () => this.close(), {
        className: "tool",
        leading: icon("close"),
        hasWords: false,
      }),
    );
  }

  #arrow(name, step) {
    return button(text[name], () => this.#on.move(step), {
      className: `arrow ${name}`,
      leading: icon(name),
      hasWords: false,
    });
  }

  show(hit, { isFirst, isLast }) {
    const changed = this.hit?.photo_id !== hit.photo_id;
    this.hit = hit;
    this.#dialog.setAttribute("aria-label", text.previewLabel(fileName(hit.path)));
    this.#name.textContent = fileName(hit.path);
    this.#facts.textContent = [
      moment(hit.taken),
      hit.place,
      text.pixels(hit.width_px, hit.height_px),
      hit.offline ? text.offline : "",
    ]
      .filter(Boolean)
      .join("  ·  ");
    this.#folder.textContent = folderName(hit.path);
    this.#why.replaceChildren(...hit.why.map((reason) => make("li", {}, reason)));
    this.#similar.hidden = !hit.similar;
    this.#similar.textContent = hit.similar ? text.showSimilar(hit.similar) : "";
    this.#hide.querySelector(".label").textContent = hit.hidden ? text.unhide : text.hide;
    this.#why.hidden = hit.why.length === 0;
    this.#previous.disabled = isFirst;
    this.#next.disabled = isLast;
    if (changed) this.#load(hit);
    if (this.#dialog.open) return;
    this.#dialog.showModal();
    this.#stage.focus(); // not a button: there Space would press it
  }

  close() {
    this.#dialog.close();
  }

  /** The thumbnail at once, enlarged; the sharp picture over it when it is there. */
  #load(hit) {
    const [width, height] = [hit.width_px, hit.height_px];
    const scale = Math.max(1, MIN_SIDE_PX / Math.max(width, height));
    this.#frame.style.setProperty("--width", `${Math.round(width * scale)}px`);
    this.#frame.style.setProperty("--ratio", width / height);
    const small = make("img", { src: thumbnail(hit.photo_id), alt: altOf(hit) });
    this.#frame.replaceChildren(small);
    clearTimeout(this.#timer);
    if (hit.offline) return; // only the thumbnail is at hand
    this.#timer = setTimeout(() => {
      const large = make("img", { alt: "", class: "large", decoding: "async" });
      large.addEventListener("load", () => large.classList.add("loaded"));
      large.addEventListener("error", () => large.remove());
      large.src = picture(hit.photo_id);
      this.#frame.append(large);
    }, LARGE_AFTER_MS);
  }

  #keydown(event) {
    const onButton = event.target.closest("button") !== null;
    const command = event.ctrlKey || event.metaKey;
    if (command && event.key.toLowerCase() === "c" && !String(getSelection())) {
      event.preventDefault();
      return event.shiftKey ? this.#on.copyPath(this.hit) : this.#on.copy(this.hit);
    }
    if (command && event.key.toLowerCase() === "z") return void this.#on.undo();
    if ((event.key === "Enter" || event.key === " ") && onButton) return;
    const run = {
      ArrowLeft: () => this.#on.move("ArrowLeft"),
      ArrowRight: () => this.#on.move("ArrowRight"),
      ArrowUp: () => this.#on.move("ArrowUp"),
      ArrowDown: () => this.#on.move("ArrowDown"),
      Home: () => this.#on.move("Home"),
      End: () => this.#on.move("End"),
      " ": () => this.close(),
      Enter: () => {
        if (event.shiftKey) this.#on.like(this.hit);
        else if (event.altKey) this.#on.group(this.hit);
        else if (command) this.#on.reveal(this.hit);
        else this.#on.open(this.hit);
      },
      Delete: () => this.#on.hide(this.hit),
      "?": () => this.#on.keys(),
    }[event.key];
    if (!run || (event.repeat && !event.key.startsWith("Arrow"))) return;
    event.preventDefault();
    run();
  }

  #click(event) {
    if (event.target.closest("button")) return;
    // The first click of a double click opened this dialog; the second lands here.
    if (event.detail === 2) return this.#on.open(this.hit);
    if (event.detail === 1 && !event.target.closest(".frame, .previewbar")) this.close();
  }

  #closed() {
    clearTimeout(this.#timer);
    this.hit = null;
    this.#frame.replaceChildren();
    this.#on.closed();
  }
}
