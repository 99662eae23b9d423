// What was found: the photos of the newest answer, their heading, and what stands in their place.

import * as api from "./api.js";
import { button, byId } from "./dom.js";
import { fillEmpty, fillNoMatch } from "./nothing.js";
import { text } from "./strings.js";
import { debounced, throttled } from "./timing.js";

export const PAGE = 60; // photos asked for at once
const MAX_REFRESH = 1000; // the daemon's limit on one answer
const REFRESH_MS = 1000; // between two quiet looks while photos are being indexed
const SAY_MS = 600; // after the last change of the results

export const isSearching = (query) => query.text !== "" || query.like !== null;

export class Results {
  #grid;
  #asking;
  #on;
  #loadingMore = false;
  #leaving = new Set(); // ids of photos that are being hidden, or found again
  #end = new IntersectionObserver((seen) => seen.at(-1).isIntersecting && this.#loadMore(), {
    rootMargin: "1200px",
  });
  query = { text: "", like: null, all: false, group: false }; // what the photos shown answer
  answer = null; // the newest reply; null until the first

  /** `on`: {status(), examples(), search(words), showAll(), addFolder(), painted(), kept(),
   * failed(error)}; `kept()` is told after photos changed under an open preview. */
  constructor(grid, asking, on) {
    this.#grid = grid;
    this.#asking = asking;
    this.#on = on;
  }

  /** Is what is shown the answer to this, with nothing else under way? */
  answers(query) {
    const isSame = Object.keys(query).every((name) => query[name] === this.query[name]);
    return isSame && this.answer !== null && !this.#asking.isUnderWay;
  }

  show(answer, query) {
    this.query = query;
    this.answer = answer;
    window.scrollTo(0, 0);
    this.#paint(answer.hits, { isNew: true });
    this.#saySoon();
  }

  /** The next page, when the end of the photos comes near. */
  async #loadMore() {
    const { answer, query } = this;
    if (!answer?.more || this.#loadingMore || this.#asking.isUnderWay) return;
    const number = this.#asking.number;
    this.#loadingMore = true;
    try {
      const next = await api.search(query, { k: PAGE, offset: this.#grid.hits.length });
      if (number !== this.#asking.number || this.answer !== answer) return;
      this.answer = next;
      this.#paint(joined(this.#grid.hits, next.hits));
    } catch (error) {
      this.#on.failed(error);
    } finally {
      this.#loadingMore = false;
    }
  }

  /** The library changed: look again at what is shown, without a word and without a jump. */
  refreshSoon = throttled(() => this.#refresh(), REFRESH_MS);

  async #refresh() {
    const { query } = this;
    if (!this.answer || this.#asking.isUnderWay || this.#loadingMore) return this.refreshSoon();
    const number = this.#asking.number;
    try {
      const k = Math.min(Math.max(this.#grid.hits.length, PAGE), MAX_REFRESH);
      const answer = await api.search(query, { k });
      if (number !== this.#asking.number || this.#loadingMore) return;
      const anchor = this.#grid.anchor();
      const tail = this.#grid.hits.slice(MAX_REFRESH);
      this.answer = tail.length ? { ...answer, more: this.answer.more } : answer;
      this.#paint(joined(answer.hits, tail));
      this.#grid.restore(anchor);
      this.#on.kept();
    } catch (error) {
      if (!(error instanceof api.Refused)) this.#on.failed(error);
    }
  }

  /** A photo is no part of any answer from now on: the one behind it is the chosen one. */
  drop(hit) {
    this.#leaving.add(hit.photo_id);
    const { active, hits } = this.#grid;
    const wasChosen = hits[active]?.photo_id === hit.photo_id;
    this.#paint(hits);
    if (wasChosen) this.#grid.activate(Math.min(active, this.#grid.hits.length - 1));
  }

  /** The daemon knows by now, or has refused: what it answers is what there is. */
  settled(hit) {
    this.#leaving.delete(hit.photo_id);
    this.refreshSoon();
  }

  // --- painting -------------------------------------------------------------------------------

  #paint(found, how) {
    const hits = found.filter((hit) => !this.#leaving.has(hit.photo_id));
    this.#grid.paint(hits, how);
    byId("heading").textContent = this.#heading(hits);
    this.#showNothing(hits);
    this.#on.painted();
    this.#showFurther(hits);
    // Watching anew reports at once where the end is, even if it has not moved.
    this.#end.unobserve(byId("end"));
    this.#end.observe(byId("end"));
  }

  #heading(hits) {
    const { query, answer } = this;
    if (!isSearching(query)) return hits.length ? text.newest : "";
    const relevant = hits.filter((hit) => hit.relevant).length;
    if (relevant) return text.found(relevant, answer.more && relevant === hits.length);
    if (!hits.length) return "";
    return query.text ? text.noMatch(query.text) : text.noMatchLike;
  }

  /** News of the library: what stands in place of photos may be another matter now. */
  statusChanged() {
    if (this.answer && !this.#grid.hits.length) this.#showNothing([]);
  }

  /** In place of photos: why there are none, and what to do. */
  #showNothing(hits) {
    const panel = byId("nothing");
    panel.hidden = hits.length > 0;
    if (hits.length) return panel.replaceChildren();
    const { query, answer } = this;
    const status = this.#on.status();
    const waiting = notIndexed(status);
    const { search, showAll, addFolder } = this.#on;
    if (answer.total_photos === 0 && !(waiting === 0 && isSearching(query))) {
      const isIdle = status?.indexing.state === "idle" && status.queue === 0 && waiting === 0;
      return fillEmpty(panel, status, { isIdle, addFolder });
    }
    const examples = this.#on.examples();
    fillNoMatch(panel, { query, answer, waiting, examples }, { search, showAll });
  }

  /** After the last relevant photo: a way to the ones below the line. */
  #showFurther(hits) {
    const { answer, query } = this;
    const offers = hits.length > 0 && !answer.more && answer.hidden > 0 && !query.all;
    const further = byId("further");
    const place = offers ? String(hits.length) : "";
    if (further.dataset.after === place) return;
    further.dataset.after = place;
    // A new button in the new place: one that is carried along counts as a layout shift.
    further.replaceChildren(
      ...(offers ? [button(text.showLessLikely, this.#on.showAll, { className: "secondary" })] : []),
    );
  }

  /** Say the number of results once typing has come to rest. */
  #saySoon = debounced(() => {
    const { query, answer } = this;
    const { hits } = this.#grid;
    const relevant = hits.filter((hit) => hit.relevant).length;
    byId("said").textContent = isSearching(query)
      ? text.foundFor(relevant, answer.more && relevant === hits.length, named(query))
      : text.newestShown(hits.length);
  }, SAY_MS);
}

const named = (query) =>
  query.group ? text.similarTo : query.text ? `“${query.text}”` : text.likeThis;

/** Both lists, each photo once. */
function joined(hits, further) {
  const known = new Set(hits.map((hit) => hit.photo_id));
  return [...hits, ...further.filter((hit) => !known.has(hit.photo_id))];
}

function notIndexed(status) {
  if (!status) return 0;
  const { photos, searchable, indexing } = status;
  const toRead = indexing.state === "idle" ? 0 : indexing.to_do - indexing.done;
  return Math.max(photos - searchable, toRead, 0);
}
