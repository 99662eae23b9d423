// What can be done with a photo: look at it large, open, show in its folder, copy, hide, drag.

import * as api from "./api.js";
import { copyPath, copyPhoto, dragPhoto } from "./copying.js";
import { fileName } from "./paths.js";
import { Preview } from "./preview.js";
import { text } from "./strings.js";
import { walk } from "./walk.js";

export class Deeds {
  #grid;
  #toasts;
  #on;
  preview;

  /** `on`: {attempt(call), hasMore(), like(hit), group(hit), leave(hit), settled(hit), meant(),
   * closed(), keys()}; `meant()` is told when something is done with a photo: then the search was
   * one. `leave(hit)`: it is no part of any answer from now on; answers whether the photos shown
   * are otherwise the same ones. `settled(hit)`: the daemon has done it, or refused to. */
  constructor(dialog, grid, toasts, on) {
    this.#grid = grid;
    this.#toasts = toasts;
    this.#on = on;
    this.preview = new Preview(dialog, {
      move: (step) => this.#move(step),
      open: (hit) => this.open(hit),
      reveal: (hit) => this.reveal(hit),
      copy: (hit) => this.copy(hit),
      copyPath: (hit) => this.copyPath(hit),
      hide: (hit) => this.hide(hit),
      like: on.like,
      group: on.group,
      undo: () => toasts.undo(),
      closed: on.closed,
      keys: on.keys,
    });
  }

  showPreview() {
    const { active, activeHit: hit, hits } = this.#grid;
    if (!hit) return;
    const isLast = active === hits.length - 1 && !this.#on.hasMore();
    this.preview.show(hit, { isFirst: active === 0, isLast });
    this.#on.meant();
  }

  /** `step`: on or back by so many, or a key, which may be mirrored. */
  #move(step) {
    const grid = this.#grid;
    const to = typeof step === "number" ? grid.active + step : walk(step, grid.active, grid.shape);
    if (to === grid.active || grid.hits[to] === undefined) return;
    grid.activate(to);
    this.showPreview();
  }

  /** After a refresh: the photo in the preview may have moved, or be gone. */
  keepPreview() {
    const { hit } = this.preview;
    if (!hit) return;
    const at = this.#grid.hits.findIndex((each) => each.photo_id === hit.photo_id);
    if (at < 0) return this.preview.close();
    this.#grid.activate(at, { scroll: false });
    this.showPreview();
  }

  open(hit) {
    return this.#launch(hit, api.open, text.opening);
  }

  reveal(hit) {
    return this.#launch(hit, api.reveal, text.revealing);
  }

  async #launch(hit, call, words) {
    if (!hit) return;
    const name = fileName(hit.path);
    if (hit.offline) return this.#toasts.trouble(text.notConnected(name));
    this.#toasts.say(words(name));
    this.#on.meant();
    await this.#on.attempt(call(hit.photo_id));
  }

  copy(hit) {
    return this.#copy(hit, copyPhoto);
  }

  copyPath(hit) {
    return this.#copy(hit, copyPath);
  }

  async #copy(hit, how) {
    const name = fileName(hit.path);
    this.#on.meant();
    try {
      const isPicture = await how(hit);
      if (isPicture) this.#toasts.say(text.copied(name));
      else this.#toasts.say(how === copyPath || hit.offline ? text.copiedPath : text.notCopied);
    } catch {
      this.#toasts.trouble(text.failed); // the browser refuses its clipboard
    }
  }

  /** Leave a photo, and those it stands for, out of every search; or find hidden ones again. */
  async hide(hit) {
    const [change, back] = hit.hidden ? [api.unhide, api.hideAll] : [api.hide, api.unhideAll];
    const isOpen = this.preview.hit?.photo_id === hit.photo_id;
    const goesOn = this.#on.leave(hit); // at once, so that the next press means the next photo
    if (isOpen && goesOn && this.#grid.activeHit) this.showPreview();
    else if (isOpen) this.preview.close();
    const words = hit.hidden ? text.foundAgain : text.hiddenNow;
    const changing = this.#on.attempt(change(hit.photo_id, hit.similar > 0));
    this.#toasts.undoable(words(fileName(hit.path), hit.similar + 1), async () => {
      const { photos } = (await changing) ?? { photos: [] };
      await this.#on.attempt(back(photos));
    });
    await changing;
    this.#on.settled(hit);
  }

  drag(event) {
    const hit = this.#grid.hitAt(event.target);
    if (!hit || !event.dataTransfer) return;
    dragPhoto(event.dataTransfer, hit);
    this.#on.meant();
  }
}
