// The search page: what was asked, what is shown, and who does what about it.

import * as api from "./api.js";
import { Asking } from "./asking.js";
import { copyPath, copyPhoto, dragPhoto } from "./copying.js";
import { button, byId, icon, make, rename } from "./dom.js";
import { Foot } from "./foot.js";
import { Forgetting } from "./forgetting.js";
import { Grid } from "./grid.js";
import { listenToKeys } from "./keys.js";
import { LibraryPanel } from "./library.js";
import { Live } from "./live.js";
import { fillEmpty, fillNoMatch } from "./nothing.js";
import {
  codeIn, fillSignIn, openKeys, openOffline, openPrivacy, openRejected,
} from "./panels.js";
import { fileName, shown } from "./paths.js";
import { showExamples, showParts, stretch, without } from "./pills.js";
import { Preview } from "./preview.js";
import { text } from "./strings.js";
import { debounced, throttled } from "./timing.js";
import { Toasts } from "./toasts.js";
import { walk } from "./walk.js";

const PAGE = 60; // photos asked for at once
const MAX_REFRESH = 1000; // the daemon's limit on one answer
const REFRESH_MS = 1000; // between two quiet looks while photos are being indexed
const SAY_MS = 600; // after the last change of the results
const BUSY_MS = 250; // an answer faster than this shows no sign of waiting

const box = byId("box");
const state = {
  query: { text: "", like: null, all: false, group: false }, // what the photos shown answer
  answer: null, // the newest reply; null until the first
  like: null, // the hit whose look-alikes are wanted
  group: false, // of those, only the ones it stands for
  textBeforeLike: "",
  all: false,
  status: null,
  loadingMore: false,
  examples: [],
  examplesOf: -1, // how many photos the library had when they were made
};

const grid = new Grid(byId("grid"), { activated: showActive });
const preview = new Preview(byId("preview"), {
  move: movePreview,
  open: (hit) => launch(hit, api.open, text.opening),
  reveal: (hit) => launch(hit, api.reveal, text.revealing),
  copy: (hit) => copy(hit, copyPhoto),
  copyPath: (hit) => copy(hit, copyPath),
  like: lookLike,
  group: showGroup,
  closed: () => box.focus({ preventScroll: true }),
  keys: () => openKeys(byId("panel")),
});
const foot = new Foot(byId("foot"), {
  pause: () => attempt(api.pause()),
  resume: () => attempt(api.resume()),
  rejected: async () => {
    const files = await attempt(api.rejected());
    if (files) openRejected(byId("panel"), files, tryAgain);
  },
  offline: () => openOffline(byId("panel"), state.status.libraries, lookAgain),
  library: openLibrary,
  privacy: async () => {
    const counted = await attempt(api.privacy());
    if (counted) openPrivacy(byId("panel"), counted, state.status.bundle);
  },
  say: (words) => (byId("progressed").textContent = words),
});
const toasts = new Toasts(byId("toasts"), () => [byId("panel"), byId("preview")]);
const forgetting = new Forgetting({
  forget: (id) => attempt(api.forget(id)),
  changed: () => showStatus(state.status),
});
const library = new LibraryPanel(byId("panel"), {
  attempt,
  say: (words) => toasts.say(words),
  forget: forgetSoon,
  isForgotten: (id) => forgetting.has(id),
});
const live = new Live({ status: showStatus, up: showUp, down: () => toasts.showDown(), signedOut: showSignIn });
const asking = new Asking({
  send: (query, signal) => api.search(query, { k: PAGE, signal }),
  heard: showAnswer,
  failed: searchFailed,
});
const signIn = fillSignIn(byId("signin"), enter);

// --- asking -----------------------------------------------------------------------------------

const typedQuery = () => ({
  text: box.value.trim(),
  like: state.like,
  all: state.all,
  group: state.group,
});

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
  if (state.group) leaveGroup();
  ask({ soon: true });
}

/** Is what is shown the answer to this, with nothing else under way? */
function isAnswered(query) {
  const isSame = Object.keys(query).every((name) => query[name] === state.query[name]);
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
const named = (query) =>
  query.group ? text.similarTo : query.text ? `“${query.text}”` : text.likeThis;

function paint(hits) {
  grid.paint(hits);
  box.setAttribute("aria-expanded", String(hits.length > 0));
  byId("heading").textContent = headingFor(hits);
  showNothing(hits);
  showPills();
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
  const { query, answer, status, examples } = state;
  const waiting = notIndexed();
  if (answer.total_photos === 0 && !(waiting === 0 && isSearching(query))) {
    const isIdle = status?.indexing.state === "idle" && status.queue === 0 && waiting === 0;
    return fillEmpty(panel, status, { isIdle, addFolder: openLibrary });
  }
  fillNoMatch(panel, { query, answer, waiting, examples }, { search: searchFor, showAll });
}

/** How the search was understood; for an empty box, searches worth trying. */
function showPills() {
  const { query, answer } = state;
  if (isSearching(query)) {
    const kept = answer.chips.map((chip) => ({ ...chip, query: query.text }));
    showParts(byId("pills"), kept, { edit: editPart, remove: removePart });
  } else showExamples(byId("pills"), state.examples, searchFor);
}

function searchFor(words) {
  box.value = words;
  state.all = false;
  box.focus({ preventScroll: true });
  ask();
}

/** A pill tells of the words it was made from; meanwhile others may have been typed. */
const isStill = (chip) => box.value.trim() === chip.query;

function editPart(chip) {
  box.focus({ preventScroll: true });
  if (!isStill(chip)) return;
  const indent = box.value.length - box.value.trimStart().length;
  const [start, end] = stretch(chip.query, chip);
  box.setSelectionRange(start + indent, end + indent);
}

function removePart(chip) {
  if (isStill(chip)) searchFor(without(chip.query, chip));
}

/** Made anew by the daemon when the library has changed; asked for when it may have been. */
async function loadExamples() {
  const photos = state.status?.searchable ?? 0;
  if (photos === state.examplesOf || state.status.indexing.state === "working") return;
  state.examplesOf = photos;
  const found = await api.examples().catch(() => null);
  if (found === null) return void (state.examplesOf = -1); // asked again with the next news
  state.examples = found;
  if (state.answer && !isSearching(state.query)) showPills();
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
  foot.show({
    ...status,
    libraries: status.libraries.filter((each) => !forgetting.has(each.id)),
  });
  library.show(status);
  loadExamples();
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

/** `step`: on or back by so many, or a key, which may be mirrored. */
function movePreview(step) {
  const to = typeof step === "number" ? grid.active + step : walk(step, grid.active, grid.shape);
  if (to === grid.active || grid.hits[to] === undefined) return;
  grid.activate(to);
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
  if (hit.offline) return toasts.trouble(text.notConnected(name));
  toasts.say(words(name));
  await attempt(call(hit.photo_id));
}

async function copy(hit, how) {
  const name = fileName(hit.path);
  try {
    const isPicture = await how(hit);
    if (isPicture) toasts.say(text.copied(name));
    else toasts.say(how === copyPath || hit.offline ? text.copiedPath : text.notCopied);
  } catch {
    toasts.trouble(text.failed); // the browser refuses its clipboard
  }
}

/** Only the photos that this one stands for: a burst, near duplicates. */
function showGroup(hit) {
  if (!hit?.similar) return;
  lookLike(hit, { group: true });
}

function leaveGroup() {
  state.group = false;
  state.like = null;
  showChip();
}

function lookLike(hit, { group = false } = {}) {
  if (!hit) return;
  if (!state.like) state.textBeforeLike = box.value;
  state.like = hit;
  state.group = group;
  state.all = false;
  box.value = "";
  preview.close();
  showChip();
  ask();
}

/** Without the chip, the words from before it are back. */
function stopLooking() {
  state.like = null;
  state.group = false;
  box.value ||= state.textBeforeLike;
  showChip();
  box.focus();
  ask();
}

function showChip() {
  const chips = byId("chips");
  if (!state.like) return chips.replaceChildren();
  const name = fileName(state.like.path);
  const back = state.group ? text.removeSimilar(name) : text.removeLike(name);
  const cross = button(back, stopLooking, {
    leading: icon("close"),
    hasWords: false,
  });
  const picture = make("img", { src: api.thumbnail(state.like.photo_id), alt: "" });
  const words = make("span", { class: "chipname" }, state.group ? text.similarChip(name) : text.likeChip(name));
  chips.replaceChildren(make("span", { class: "chip" }, picture, words, cross));
}

// --- mouse -----------------------------------------------------------------------------------

function clearBox() {
  box.value = "";
  box.focus();
  typed();
}

function clicked(event) {
  const index = grid.indexAt(event.target);
  if (index < 0) return;
  grid.activate(index, { scroll: false });
  box.focus({ preventScroll: true }); // where the keys are heard
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (event.target.closest(".stack")) return showGroup(grid.activeHit);
  showPreview();
}

function dragged(event) {
  const hit = grid.hitAt(event.target);
  if (hit && event.dataTransfer) dragPhoto(event.dataTransfer, hit);
}

// --- folders ----------------------------------------------------------------------------------

function openLibrary() {
  if (state.status) library.open(state.status);
}

async function tryAgain() {
  const found = await attempt(api.retry());
  if (found) toasts.say(text.triedAgain(found.files));
}

async function lookAgain() {
  if (await attempt(api.rescan())) toasts.say(text.lookingAgain);
}

function forgetSoon(folder) {
  const undo = forgetting.soon(folder.id);
  toasts.undoable(text.forgotten(shown(folder.path)), undo);
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
  else if (error instanceof api.Refused) toasts.trouble(error.message || text.failed);
  else throw error;
}

function showUp() {
  if (!toasts.hideDown()) return;
  if (isAnswered(typedQuery())) refreshSoon();
  else ask(); // what was typed meanwhile
}

function showSignIn() {
  live.stop();
  setBusy(false);
  preview.close();
  toasts.clear();
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
  if (location.hash) history.replaceState(null, "", location.pathname + location.search);
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
  byId("grid").addEventListener("click", clicked);
  byId("grid").addEventListener("dragstart", dragged);
  listenToKeys(box, {
    isElsewhere: () => document.querySelector("dialog[open]") || !byId("signin").hidden,
    isInGrid,
    isLooking: () => state.like !== null,
    enterGrid,
    leaveGrid,
    move: moveInGrid,
    preview: showPreview,
    open: () => launch(grid.activeHit, api.open, text.opening),
    reveal: () => launch(grid.activeHit, api.reveal, text.revealing),
    like: () => lookLike(grid.activeHit),
    group: () => showGroup(grid.activeHit),
    copy: () => copy(grid.activeHit, copyPhoto),
    copyPath: () => copy(grid.activeHit, copyPath),
    clear: clearBox,
    stopLooking,
    help: () => openKeys(byId("panel")),
  });
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
