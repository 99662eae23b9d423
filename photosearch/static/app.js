// The search page: what was asked, what is shown, and who does what about it.

import * as api from "./api.js";
import { Asking } from "./asking.js";
import { button, byId, icon, make, rename } from "./dom.js";
import { Foot } from "./foot.js";
import { Grid } from "./grid.js";
import { Live } from "./live.js";
import { codeIn, fillSignIn, openKeys, openPanel, openPrivacy, openRejected } from "./panels.js";
import { fileName, shown } from "./paths.js";
import { Preview } from "./preview.js";
import { list, text } from "./strings.js";
import { walk } from "./walk.js";

const PAGE = 60; // photos asked for at once
const MAX_REFRESH = 1000; // the daemon's limit on one answer
const REFRESH_MS = 1000; // between two quiet looks while photos are being indexed
const SAY_MS = 600; // after the last change of the results
const TOAST_MS = 2500;
const BUSY_MS = 250; // an answer faster than this shows no sign of waiting

const box = byId("box");
const state = {
  query: { text: "", like: null, all: false }, // what the photos shown answer
  answer: null, // the newest reply; null until the first
  like: null, // the hit whose look-alikes are wanted
  textBeforeLike: "",
  all: false,
  status: null,
  loadingMore: false,
};

const grid = new Grid(byId("grid"), { activated: showActive });
const preview = new Preview(byId("preview"), {
  move: movePreview,
  open: (hit) => launch(hit, api.open, text.opening),
  reveal: (hit) => launch(hit, api.reveal, text.revealing),
  like: lookLike,
  closed: () => box.focus({ preventScroll: true }),
  keys: () => openKeys(byId("panel")),
});
const foot = new Foot(byId("foot"), {
  pause: () => attempt(api.pause()),
  resume: () => attempt(api.resume()),
  rejected: async () => {
    const files = await attempt(api.rejected());
    if (files) openRejected(byId("panel"), files);
  },
  privacy: () => openPrivacy(byId("panel"), state.status),
  say: (words) => (byId("progressed").textContent = words),
});
const live = new Live({ status: showStatus, up: showUp, down: showDown, signedOut: showSignIn });
const asking = new Asking({
  send: (query, signal) => api.search(query, { k: PAGE, signal }),
  heard: showAnswer,
  failed: searchFailed,
});
const signIn = fillSignIn(byId("signin"), enter);

// --- asking -----------------------------------------------------------------------------------

const typedQuery = () => ({ text: box.value.trim(), like: state.like, all: state.all });

function ask({ soon = false } = {}) {
  byId("clear").hidden = box.value === "";
  const query = typedQuery();
  setBusy(true);
  if (soon) asking.soon(query);
  else asking.now(query);
}

function typed() {
  leaveGrid();
  byId("clear").hidden = box.value === "";
  if (box.value.trim() === state.query.text && isAnswered(typedQuery())) return; // only a space
  state.all = false; // "show anyway" was about the words before
  ask({ soon: true });
}

/** Is what is shown the answer to this, with nothing else under way? */
function isAnswered(query) {
  const { text: words, like, all } = state.query;
  const isSame = query.text === words && query.like === like && query.all === all;
  return isSame && state.answer !== null && !asking.isUnderWay;
}

function showAnswer(answer, query) {
  setBusy(false);
  state.query = query;
  state.answer = answer;
  leaveGrid();
  window.scrollTo(0, 0);
  paint(answer.hits);
  saySoon();
}

function searchFailed(error) {
  setBusy(false);
  failed(error);
}

/** The next page, when the end of the photos comes near. */
async function loadMore() {
  const { answer, query } = state;
  if (!answer?.more || state.loadingMore || asking.isUnderWay) return;
  const number = asking.number;
  state.loadingMore = true;
  try {
    const next = await api.search(query, { k: PAGE, offset: grid.hits.length });
    if (number !== asking.number || state.answer !== answer) return;
    state.answer = next;
    paint(joined(grid.hits, next.hits));
  } catch (error) {
    failed(error);
  } finally {
    state.loadingMore = false;
  }
}

/** The library changed: look again at what is shown, without a word and without a jump. */
async function refresh() {
  const { query } = state;
  if (!state.answer || asking.isUnderWay || state.loadingMore) return refreshSoon();
  const number = asking.number;
  try {
    const k = Math.min(Math.max(grid.hits.length, PAGE), MAX_REFRESH);
    const answer = await api.search(query, { k });
    if (number !== asking.number || state.loadingMore) return;
    const anchor = grid.anchor();
    const tail = grid.hits.slice(MAX_REFRESH);
    state.answer = tail.length ? { ...answer, more: state.answer.more } : answer;
    paint(joined(answer.hits, tail));
    grid.restore(anchor);
    if (preview.hit) keepPreview();
  } catch (error) {
    if (!(error instanceof api.Refused)) failed(error);
  }
}

const refreshSoon = throttled(refresh, REFRESH_MS);

/** Both lists, each photo once. */
function joined(hits, further) {
  const known = new Set(hits.map((hit) => hit.photo_id));
  return [...hits, ...further.filter((hit) => !known.has(hit.photo_id))];
}

// --- showing ----------------------------------------------------------------------------------

const isSearching = (query) => query.text !== "" || query.like !== null;
const named = (query) => (query.text ? `“${query.text}”` : text.likeThis);

function paint(hits) {
  grid.paint(hits);
  box.setAttribute("aria-expanded", String(hits.length > 0));
  byId("heading").textContent = headingFor(hits);
  showNothing(hits);
  showEnd(hits);
  watchEnd();
}

function headingFor(hits) {
  const { query, answer } = state;
  if (!isSearching(query)) return hits.length ? text.newest : "";
  const relevant = hits.filter((hit) => hit.relevant).length;
  if (relevant) return text.found(relevant, answer.more && relevant === hits.length);
  if (!hits.length) return "";
  return query.text ? text.noMatch(query.text) : text.noMatchLike;
}

/** In place of photos: why there are none, and what to do. */
function showNothing(hits) {
  const panel = byId("nothing");
  panel.hidden = hits.length > 0;
  if (hits.length) return panel.replaceChildren();
  const { query, answer } = state;
  const waiting = notIndexed();
  if (answer.total_photos === 0 && !(waiting === 0 && isSearching(query))) return showEmpty(panel);
  const more = waiting ? make("p", {}, text.notIndexed(waiting)) : null;
  const anyway = button(text.showAnyway, showAll, { className: "primary" });
  panel.replaceChildren(
    make("h2", {}, query.text ? text.noMatch(query.text) : text.noMatchLike),
    make("p", {}, text.noMatchAdvice),
    ...[more, answer.hidden > 0 && !query.all ? anyway : null].filter(Boolean),
  );
}

/** A library without a searchable photo: still being indexed, or without any. */
function showEmpty(panel) {
  const { status } = state;
  const isIdle = status?.indexing.state === "idle" && status.queue === 0 && notIndexed() === 0;
  const folders = list((status?.libraries ?? []).map((each) => shown(each.path)));
  panel.replaceChildren(
    make("img", { src: "/static/icon.svg", alt: "", class: "mark", width: "64", height: "64" }),
    make("h2", {}, isIdle ? text.noPhotos : text.firstPhotos),
    make("p", {}, isIdle ? text.noPhotosAdvice(folders) : text.firstPhotosAdvice),
  );
}

function notIndexed() {
  if (!state.status) return 0;
  const { photos, searchable, indexing } = state.status;
  const toRead = indexing.state === "idle" ? 0 : indexing.to_do - indexing.done;
  return Math.max(photos - searchable, toRead, 0);
}

/** After the last relevant photo: a way to the ones below the line. */
function showEnd(hits) {
  const { answer, query } = state;
  const offers = hits.length > 0 && !answer.more && answer.hidden > 0 && !query.all;
  const further = byId("further");
  const place = offers ? String(hits.length) : "";
  if (further.dataset.after === place) return;
  further.dataset.after = place;
  // A new button in the new place: one that is carried along counts as a layout shift.
  further.replaceChildren(
    ...(offers ? [button(text.showLessLikely, showAll, { className: "secondary" })] : []),
  );
}

function showAll() {
  state.all = true;
  box.focus({ preventScroll: true });
  ask();
}

/** Say the number of results once typing has come to rest. */
const saySoon = debounced(() => {
  const { query, answer } = state;
  const relevant = grid.hits.filter((hit) => hit.relevant).length;
  byId("said").textContent = isSearching(query)
    ? text.foundFor(relevant, answer.more && relevant === grid.hits.length, named(query))
    : text.newestShown(grid.hits.length);
}, SAY_MS);

function setBusy(isBusy) {
  clearTimeout(setBusy.timer);
  const bar = byId("busy").classList;
  if (!isBusy) bar.remove("on");
  else setBusy.timer = setTimeout(() => bar.add("on"), BUSY_MS);
}

function showStatus(status) {
  const isFirst = state.status === null;
  state.status = status;
  byId("foot").hidden = false;
  foot.show(status);
  if (state.answer && !grid.hits.length) showNothing(grid.hits);
  if (!isFirst) refreshSoon();
}

// --- the chosen photo -------------------------------------------------------------------------

const isInGrid = () => grid.active >= 0;

function showActive(cellId) {
  if (cellId) box.setAttribute("aria-activedescendant", cellId);
  else box.removeAttribute("aria-activedescendant");
  document.body.classList.toggle("in-grid", cellId !== null);
}

function leaveGrid() {
  if (isInGrid()) grid.activate(-1);
}

function enterGrid() {
  if (grid.hits.length) grid.activate(0);
}

function moveInGrid(key) {
  const next = walk(key, grid.active, grid.shape);
  grid.activate(next);
  if (next < 0) window.scrollTo(0, 0);
}

function showPreview() {
  const hit = grid.activeHit;
  if (!hit) return;
  const isLast = grid.active === grid.hits.length - 1 && !state.answer.more;
  preview.show(hit, { isFirst: grid.active === 0, isLast });
}

/** `step`: -1, 1 or a key. */
function movePreview(step) {
  const key = { "-1": "ArrowLeft", 1: "ArrowRight" }[step] ?? step;
  const next = walk(key, grid.active, grid.shape);
  if (next < 0 || next === grid.active) return;
  grid.activate(next);
  showPreview();
}

/** After a refresh: the photo in the preview may have moved, or be gone. */
function keepPreview() {
  const at = grid.hits.findIndex((hit) => hit.photo_id === preview.hit.photo_id);
  if (at < 0) return preview.close();
  grid.activate(at, { scroll: false });
  showPreview();
}

async function launch(hit, call, words) {
  if (!hit) return;
  const name = fileName(hit.path);
  if (hit.offline) return toast(text.notConnected(name), { isTrouble: true });
  toast(words(name));
  await attempt(call(hit.photo_id));
}

function lookLike(hit) {
  if (!state.like) state.textBeforeLike = box.value;
  state.like = hit;
  state.all = false;
  box.value = "";
  preview.close();
  showChip();
  ask();
}

/** Without the chip, the words from before it are back. */
function stopLooking() {
  state.like = null;
  box.value ||= state.textBeforeLike;
  showChip();
  box.focus();
  ask();
}

function showChip() {
  const chips = byId("chips");
  if (!state.like) return chips.replaceChildren();
  const name = fileName(state.like.path);
  const cross = button(text.removeLike(name), stopLooking, {
    leading: icon("close"),
    hasWords: false,
  });
  const picture = make("img", { src: api.thumbnail(state.like.photo_id), alt: "" });
  const words = make("span", { class: "chipname" }, text.likeChip(name));
  chips.replaceChildren(make("span", { class: "chip" }, picture, words, cross));
}

// --- keys and mouse ---------------------------------------------------------------------------

function keydown(event) {
  if (event.defaultPrevented) return; // the preview has dealt with it, and may be closed by now
  if (event.isComposing || event.keyCode === 229) return; // an input method is at work
  if (document.querySelector("dialog[open]") || !byId("signin").hidden) return;
  if (event.target === box) return boxKey(event);
  if (event.target.closest("input, textarea, a, button") && event.key !== "/") return;
  if (event.key === "/") return act(event, () => box.select());
  // Pressed beside everything, letters are meant for the box, and arrows for the photos.
  const isMeant = event.key.length === 1 ? event.key !== " " : /^(ArrowDown|Esc)/.test(event.key);
  if (event.ctrlKey || event.metaKey || event.altKey || !(isMeant || isInGrid())) return;
  if (event.key === "Tab" || event.key === "Shift") return;
  box.focus({ preventScroll: true });
  boxKey(event);
}

function boxKey(event) {
  const { key } = event;
  const command = event.ctrlKey || event.metaKey;
  if (key === "Enter") return act(event, () => enterKey(command));
  if (command || event.altKey || (event.shiftKey && key !== "?")) return;
  if (key === "Escape") return act(event, escapeKey);
  if (key === "?" && (isInGrid() || box.value === "")) {
    return act(event, () => openKeys(byId("panel")));
  }
  if (key === "/" && box.value === "") return act(event, () => {});
  if (!isInGrid()) {
    if (key === "ArrowDown") act(event, enterGrid);
    else if (key === "Backspace" && box.value === "" && state.like) act(event, stopLooking);
    return;
  }
  if (key === " ") act(event, showPreview);
  else if (/^(Arrow|Home$|End$)/.test(key)) act(event, () => moveInGrid(key));
}

function act(event, run) {
  event.preventDefault();
  run();
}

function enterKey(command) {
  const hit = grid.activeHit;
  if (!hit) return enterGrid();
  if (command) launch(hit, api.reveal, text.revealing);
  else launch(hit, api.open, text.opening);
}

function escapeKey() {
  if (isInGrid()) leaveGrid();
  else if (box.value) clearBox();
  else if (state.like) stopLooking();
}

function clearBox() {
  box.value = "";
  box.focus();
  typed();
}

function clicked(event) {
  const index = grid.indexAt(event.target);
  if (index < 0) return;
  grid.activate(index, { scroll: false });
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  showPreview();
}

// --- trouble ----------------------------------------------------------------------------------

/** Await a call and show what went wrong; the reply, or null. */
async function attempt(call) {
  try {
    return await call;
  } catch (error) {
    failed(error);
    return null;
  }
}

function failed(error) {
  if (error instanceof api.SignedOut) showSignIn();
  else if (error instanceof api.Unreachable) live.check();
  else if (error instanceof api.Refused) toast(error.message || text.failed, { isTrouble: true });
  else throw error;
}

function toast(words, { isTrouble = false } = {}) {
  const role = isTrouble ? "alert" : "status";
  const note = make("p", { class: isTrouble ? "toast trouble" : "toast", role }, words);
  // What is said about the preview must lie above it.
  const place = preview.hit ? byId("preview") : byId("toasts");
  place.querySelectorAll(":scope > .toast:not(.down)").forEach((old) => old.remove());
  place.append(note);
  setTimeout(() => note.remove(), isTrouble ? 3 * TOAST_MS : TOAST_MS);
}

function showDown() {
  if (byId("toasts").querySelector(".down")) return;
  byId("toasts").append(make("p", { class: "toast down", role: "status" }, text.down));
}

function showUp() {
  const note = byId("toasts").querySelector(".down");
  if (!note) return;
  note.remove();
  if (isAnswered(typedQuery())) refreshSoon();
  else ask(); // what was typed meanwhile
}

function showSignIn() {
  live.stop();
  setBusy(false);
  preview.close();
  byId("toasts").replaceChildren();
  byId("results").hidden = byId("foot").hidden = true;
  if (!byId("signin").hidden) return;
  byId("signin").hidden = false;
  if (box.value === "") signIn.field.focus(); // else someone is typing there
}

/** Exchange a code for a session, then begin. */
async function enter(code) {
  try {
    await api.login(code);
  } catch (error) {
    showSignIn();
    signIn.problem.textContent = error instanceof api.Unreachable ? text.down : error.message;
    return;
  }
  begin();
}

// --- beginning --------------------------------------------------------------------------------

/** Signed in or not: one question tells, and then there is only one refusal. */
async function begin() {
  try {
    showStatus(await api.status());
  } catch (error) {
    if (error instanceof api.SignedOut) return showSignIn();
  }
  byId("signin").hidden = true;
  byId("results").hidden = false;
  box.focus();
  live.start();
  ask();
}

/** The code in the address is used once, and must not stay in the history. */
function takeCode() {
  const code = location.hash.startsWith("#code=") ? codeIn(location.hash) : null;
  if (location.hash) history.replaceState(null, "", location.pathname);
  return code;
}

function start() {
  const code = takeCode();
  if (code) enter(code);
  else begin();
}

let endWatcher;

/** Watching anew reports at once where the end is, even if it has not moved. */
function watchEnd() {
  endWatcher.unobserve(byId("end"));
  endWatcher.observe(byId("end"));
}

function debounced(run, wait) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(run, wait);
  };
}

/** Run soon, but not again before `wait` has passed. */
function throttled(run, wait) {
  let timer = 0;
  let last = -Infinity;
  return () => {
    if (timer) return;
    const delay = Math.max(100, last + wait - performance.now());
    timer = setTimeout(() => {
      timer = 0;
      last = performance.now();
      run();
    }, delay);
  };
}

function dressPage() {
  document.title = "photosearch"; // never the query: titles go into the browser's history
  byId("title").textContent = text.title;
  byId("glass").append(icon("search"));
  box.placeholder = text.placeholder;
  box.setAttribute("aria-label", text.boxLabel);
  byId("clear").append(icon("close"));
  rename(byId("clear"), text.clear);
  byId("hint").append(make("kbd", {}, "?"), text.hint);
}

function listen() {
  byId("search").addEventListener("submit", (event) => event.preventDefault());
  box.addEventListener("input", (event) => event.isComposing || typed());
  box.addEventListener("compositionend", typed);
  box.addEventListener("click", leaveGrid);
  byId("clear").addEventListener("click", clearBox);
  byId("hint").addEventListener("click", () => openKeys(byId("panel")));
  // A click on a photo leaves the caret where it is.
  byId("grid").addEventListener("mousedown", (event) => event.preventDefault());
  byId("grid").addEventListener("click", clicked);
  document.addEventListener("keydown", keydown);
  window.addEventListener("hashchange", () => {
    const code = takeCode();
    if (code) enter(code);
  });
  endWatcher = new IntersectionObserver(
    (entries) => entries.at(-1).isIntersecting && loadMore(),
    { rootMargin: "1200px" },
  );
}

dressPage();
listen();
start();
