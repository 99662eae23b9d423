// The search page: what is asked, who shows it, and who does what about it.

import * as api from "./api.js";
import { Asking } from "./asking.js";
import { Deeds } from "./deeds.js";
import { byId, icon, make, rename } from "./dom.js";
import { Entry } from "./entry.js";
import { Foot } from "./foot.js";
import { Forgetting } from "./forgetting.js";
import { Grid } from "./grid.js";
import { listenToKeys } from "./keys.js";
import { LibraryPanel } from "./library.js";
import { Likeness } from "./likeness.js";
import { Live } from "./live.js";
import { openErase, openKeys, openOffline, openPrivacy, openRejected } from "./panels.js";
import { shown } from "./paths.js";
import { Pills, partsOf, stretch, without } from "./pills.js";
import { isSearching, PAGE, Results } from "./results.js";
import { text } from "./strings.js";
import { Suggestions } from "./suggestions.js";
import { Toasts } from "./toasts.js";
import { walk } from "./walk.js";

const BUSY_MS = 250; // an answer faster than this shows no sign of waiting

const box = byId("box");
const panel = byId("panel");
const state = {
  all: false, // also what is less likely
  status: null, // of the daemon
  examples: [],
  examplesOf: "", // how many photos the library had, and hid, when they were made
  remembered: "", // the search that was last told to be one
};

const asking = new Asking({
  send: (query, signal) => api.search(query, { k: PAGE, signal }),
  heard: showAnswer,
  failed: searchFailed,
});
const grid = new Grid(byId("grid"), { activated: showActive });
const results = new Results(grid, asking, {
  status: () => state.status,
  examples: () => state.examples,
  search: searchFor,
  showAll,
  addFolder: openLibrary,
  painted: () => {
    box.setAttribute("aria-expanded", String(grid.hits.length > 0));
    showPills();
  },
  kept: () => deeds.keepPreview(),
  failed,
});
const toasts = new Toasts(byId("toasts"), () => [panel, byId("preview")]);
const deeds = new Deeds(byId("preview"), grid, toasts, {
  attempt,
  hasMore: () => results.answer.more,
  like: lookLike,
  group: showGroup,
  leave: leaveOut,
  settled: (hit) => results.settled(hit),
  meant: remember,
  closed: () => box.focus({ preventScroll: true }),
  keys: () => openKeys(panel),
});
const likeness = new Likeness(byId("chips"), { stop: stopLooking });
const suggestions = new Suggestions(() => results.answer && showPills());
const pills = new Pills(byId("pills"), {
  edit: editPart,
  remove: removePart,
  choose: searchFor,
  forget: forgetSearch,
});
const forgetting = new Forgetting({
  forget: (id) => attempt(api.forget(id)),
  changed: () => showStatus(state.status),
});
const library = new LibraryPanel(panel, {
  attempt,
  say: (words) => toasts.say(words),
  forget: forgetSoon,
  isForgotten: (id) => forgetting.has(id),
  searchesForgotten: () => suggestions.renew(),
  search: searchFor,
});
const foot = new Foot(byId("foot"), {
  pause: () => attempt(api.pause()),
  resume: () => attempt(api.resume()),
  rejected: showRejected,
  offline: () => openOffline(panel, state.status.libraries, lookAgain),
  library: openLibrary,
  privacy: showPrivacy,
  say: (words) => (byId("progressed").textContent = words),
});
const live = new Live({
  status: showStatus,
  up: showUp,
  down: () => toasts.showDown(),
  signedOut: showSignIn,
});
const entry = new Entry(byId("signin"), { entered: begin, refused: showSignIn });

// --- asking -----------------------------------------------------------------------------------

const typedQuery = () => ({
  text: box.value.trim(),
  like: likeness.hit,
  all: state.all,
  group: likeness.isGroup,
});

function ask({ soon = false } = {}) {
  byId("clear").hidden = box.value === "";
  setBusy(true);
  if (soon) asking.soon(typedQuery());
  else asking.now(typedQuery());
  suggestions.ask(box.value);
}

function typed() {
  toasts.forgetKey();
  leaveGrid();
  byId("clear").hidden = box.value === "";
  if (box.value.trim() === results.query.text && results.answers(typedQuery())) return; // a space
  state.all = false; // "show anyway" was about the words before
  if (likeness.isGroup) likeness.forget();
  ask({ soon: true });
}

function showAnswer(answer, query) {
  setBusy(false);
  leaveGrid();
  results.show(answer, query);
}

function searchFailed(error) {
  setBusy(false);
  failed(error);
}

function searchFor(words) {
  box.value = words;
  state.all = false;
  box.focus({ preventScroll: true });
  ask();
}

function showAll() {
  state.all = true;
  box.focus({ preventScroll: true });
  ask();
}

function clearBox() {
  box.value = "";
  box.focus();
  typed();
}

function setBusy(isBusy) {
  clearTimeout(setBusy.timer);
  const bar = byId("busy").classList;
  if (!isBusy) bar.remove("on");
  else setBusy.timer = setTimeout(() => bar.add("on"), BUSY_MS);
}

/** A photo was looked at or used: what found it was a search, to be offered again. */
function remember() {
  const { text: words } = results.query;
  if (!words || words === state.remembered) return;
  state.remembered = words;
  api.remember(words).catch(() => {}); // a nicety: no word of it
}

// --- the line over the photos -------------------------------------------------------------------

/** From what is typed; a burst has no words that could go on. */
const waysOn = () =>
  suggestions.typed === box.value && !likeness.isGroup ? suggestions.found : [];

function showPills() {
  const { query, answer } = results;
  const found = waysOn();
  if (!isSearching(query)) return pills.showExamples(found, state.examples);
  const parts = partsOf(answer.chips).map((chip) => ({ ...chip, query: query.text }));
  pills.showSearch(parts, found, box.value);
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

async function forgetSearch(words) {
  box.focus({ preventScroll: true });
  if (await attempt(api.forgetSearch(words))) suggestions.renew();
}

/** Made anew by the daemon when the library has changed; asked for when it may have been. */
async function loadExamples() {
  const { searchable = 0, hidden = 0, indexing } = state.status ?? {};
  const photos = `${searchable} ${hidden}`;
  if (photos === state.examplesOf || indexing?.state === "working") return;
  state.examplesOf = photos;
  const found = await api.examples().catch(() => null);
  if (found === null) return void (state.examplesOf = ""); // asked again with the next news
  state.examples = found;
  if (results.answer && !isSearching(results.query)) showPills();
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

function clicked(event) {
  const index = grid.indexAt(event.target);
  if (index < 0) return;
  grid.activate(index, { scroll: false });
  box.focus({ preventScroll: true }); // where the keys are heard
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (event.target.closest(".stack")) return showGroup(grid.activeHit);
  deeds.showPreview();
}

/** Only the photos that this one stands for: a burst, near duplicates. */
function showGroup(hit) {
  if (hit?.similar) lookLike(hit, { isGroup: true });
}

function lookLike(hit, { isGroup = false } = {}) {
  if (!hit) return;
  remember();
  likeness.begin(hit, { isGroup, words: box.value });
  state.all = false;
  box.value = "";
  deeds.preview.close();
  ask();
}

/** A photo was hidden, or found again; with the photo of a burst that led here, go back. */
function leaveOut(hit) {
  results.drop(hit);
  const isExample = likeness.isGroup && likeness.hit.photo_id === hit.photo_id;
  if (isExample) stopLooking();
  return !isExample;
}

/** Without the chip, the words from before it are back. */
function stopLooking() {
  const before = likeness.end();
  box.value ||= before;
  box.focus();
  ask();
}

// --- library and panels -------------------------------------------------------------------------

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
  results.statusChanged();
  if (!isFirst) results.refreshSoon();
}

function openLibrary() {
  if (state.status) library.open(state.status);
}

async function showRejected() {
  const files = await attempt(api.rejected());
  if (files) openRejected(panel, files, tryAgain);
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

async function showPrivacy() {
  const counted = await attempt(api.privacy());
  if (!counted) return;
  const erase = () => openErase(panel, counted.home, eraseAll);
  openPrivacy(panel, counted, { model: state.status.bundle, erase });
}

async function eraseAll() {
  if (!(await attempt(api.deleteData()))) return;
  panel.close();
  leavePage();
  likeness.forget();
  box.value = ""; // a search, too
  byId("clear").hidden = true;
  entry.showGone();
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
  if (results.answers(typedQuery())) results.refreshSoon();
  else ask(); // what was typed meanwhile
}

function leavePage() {
  live.stop();
  setBusy(false);
  deeds.preview.close();
  toasts.clear();
  byId("results").hidden = byId("foot").hidden = true;
}

function showSignIn() {
  leavePage();
  entry.ask({ takesFocus: box.value === "" }); // else someone is typing there
}

// --- beginning --------------------------------------------------------------------------------

/** Signed in or not: one question tells, and then there is only one refusal. */
async function begin({ atSettings = false }) {
  try {
    showStatus(await api.status());
  } catch (error) {
    if (error instanceof api.SignedOut) return showSignIn();
  }
  entry.close();
  byId("results").hidden = false;
  box.focus();
  live.start();
  ask();
  if (atSettings) openLibrary();
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
  byId("hint").addEventListener("click", () => openKeys(panel));
  byId("grid").addEventListener("click", clicked);
  byId("grid").addEventListener("dragstart", (event) => deeds.drag(event));
  listenToKeys(box, {
    isElsewhere: () => document.querySelector("dialog[open]") || !byId("signin").hidden,
    isInGrid,
    isLooking: () => likeness.hit !== null,
    enterGrid,
    leaveGrid,
    move: moveInGrid,
    preview: () => deeds.showPreview(),
    open: () => deeds.open(grid.activeHit),
    reveal: () => deeds.reveal(grid.activeHit),
    like: () => lookLike(grid.activeHit),
    hide: () => deeds.hide(grid.activeHit),
    undo: () => toasts.undo(),
    group: () => showGroup(grid.activeHit),
    copy: () => deeds.copy(grid.activeHit),
    copyPath: () => deeds.copyPath(grid.activeHit),
    meant: remember,
    suggestion: () => waysOn()[0]?.text,
    take: searchFor,
    clear: clearBox,
    stopLooking,
    help: () => openKeys(panel),
  });
}

dressPage();
listen();
entry.start();
