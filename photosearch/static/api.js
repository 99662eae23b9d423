// The daemon's HTTP interface. Every failure is one of three: signed out, unreachable, refused.

const API = "/api/v1";

/** The session is not (or no longer) known: it ends with the daemon. */
export class SignedOut extends Error {}

/** Nothing answers at this address. */
export class Unreachable extends Error {}

/** The daemon said no, in words for the user. */
export class Refused extends Error {
  constructor({ code = "failed", message = "", hint = "" }) {
    super([message, hint].filter(Boolean).join(" "));
    this.code = code;
  }
}

async function ask(path, options = {}) {
  let response, body;
  try {
    response = await fetch(API + path, { cache: "no-store", ...options });
    body = await response.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    if (!response || response.ok) throw new Unreachable(path);
    body = {};
  }
  if (response.ok) return body;
  const said = body.error ?? {};
  throw response.status === 401 && said.code === "no_session"
    ? new SignedOut(path)
    : new Refused(said);
}

function tell(path, parameters = {}) {
  const query = new URLSearchParams(parameters).toString();
  return ask(query ? `${path}?${query}` : path, { method: "POST" });
}

/** A request takes a thousand ids. */
async function tellOf(ids, path) {
  for (let at = 0; at < ids.length; at += 1000) await tell(path, { ids: ids.slice(at, at + 1000) });
}

export function login(code) {
  const headers = { "content-type": "application/json" };
  return ask("/login", { method: "POST", headers, body: JSON.stringify({ code }) });
}

/** Half a sign, which a box can hold and an address cannot, becomes U+FFFD. */
const sound = (words) => words.toWellFormed?.() ?? words;

/** `query`: {text, like, all, group}; with `group`, the photos that `like` stands for. */
export function search(query, { k, offset = 0, signal }) {
  if (query.group) return group(query.like, signal);
  const parameters = new URLSearchParams({ q: sound(query.text), k });
  if (offset) parameters.set("offset", offset);
  if (query.all) parameters.set("all", "true");
  if (query.like) parameters.set("like", query.like.photo_id);
  return ask(`/search?${parameters}`, { signal, priority: "high" });
}

/** A burst, or near duplicates, in the shape of an answer. */
async function group(hit, signal) {
  const photos = await ask(`/photos/${hit.photo_id}/group`, { signal });
  const known = { why: [], relevant: true, similar: 0, colour: null };
  const hits = photos.map((photo) => ({ ...known, ...photo }));
  return { hits, more: false, hidden: 0, chips: [], notes: [], total_photos: hits.length };
}

export const status = () => ask("/status");
export const rejected = () => ask("/rejected");
export const retry = () => tell("/index/retry");
export const rescan = () => tell("/index/rescan");
export const examples = () => ask("/examples");
export const suggestions = (q, k) => ask(`/suggestions?${new URLSearchParams({ q: sound(q), k })}`);
export const remember = (q) => tell("/history", { q: sound(q) });
export const forgetSearch = (q) => tell("/history/forget", { q });
export const forgetSearches = () => tell("/history/clear");
export const deleteData = () => tell("/delete-data", { confirm: "delete" });
export const settings = () => ask("/settings");
export const changeSetting = (name, value) => tell("/settings", { name, value });
export const privacy = () => ask("/privacy");
export const doctor = () => ask("/doctor");
export const folders = (path) => ask(`/folders?${new URLSearchParams({ path })}`);
export const addFolder = (path) => tell("/libraries", { path });
/** `keepalive`: sent even if the page is closed at this moment. */
export const forget = (id) =>
  ask(`/libraries/${id}/forget`, { method: "POST", keepalive: true });
export const pause = () => tell("/index/pause");
export const resume = () => tell("/index/resume");
export const open = (id) => tell(`/photos/${id}/open`);
export const reveal = (id) => tell(`/photos/${id}/reveal`);
/** With `similar`, the photos it is shown for as well. Answers {photos: ids that changed}. */
export const hide = (id, similar = false) => tell(`/photos/${id}/hide`, { similar });
export const unhide = (id, similar = false) => tell(`/photos/${id}/unhide`, { similar });
/** These photos, and none of those they are shown for. */
export const hideAll = (ids) => tellOf(ids, "/hide");
export const unhideAll = (ids) => tellOf(ids, "/unhide");
export const events = () => new EventSource(`${API}/events`);
export const thumbnail = (id) => `${API}/photos/${id}/thumbnail`;
export const original = (id) => `${API}/photos/${id}/original`;
export const picture = (id) => `${API}/photos/${id}/thumbnail?size=1600`;
