// Every word the page shows, and how dates and numbers are written. A translation is a
// second table like this one.

const LANGUAGE = document.documentElement.lang || "en";
const numbers = new Intl.NumberFormat(LANGUAGE);
const plural = new Intl.PluralRules(LANGUAGE);
// A camera's clock has no zone: its date is shown as it was written, wherever we are.
const days = new Intl.DateTimeFormat(LANGUAGE, { dateStyle: "long", timeZone: "UTC" });
const moments = new Intl.DateTimeFormat(LANGUAGE, {
  dateStyle: "long",
  timeStyle: "short",
  timeZone: "UTC",
});
const names = new Intl.ListFormat(LANGUAGE, { type: "conjunction" });

export const number = (value) => numbers.format(value);
export const list = (items) => names.format(items);

const count = (n, one, other) => `${number(n)} ${plural.select(n) === "one" ? one : other}`;
const photos = (n) => count(n, "photo", "photos");

/** "2019-07-04T18:30:00+02:00" -> a Date whose UTC fields are what the camera's clock showed. */
function cameraDate(taken) {
  const found = /^(\d{4})-(\d\d)-(\d\d)(?:T(\d\d):(\d\d))?/.exec(taken ?? "");
  if (!found) return null;
  const [year, month, day, hour, minute] = found.slice(1).map((part) => Number(part ?? 0));
  const date = new Date(Date.UTC(2000, month - 1, day, hour, minute));
  date.setUTCFullYear(year); // Date.UTC takes years below 100 for 19xx
  return date;
}

export function day(taken) {
  const date = cameraDate(taken);
  return date ? days.format(date) : "";
}

export function moment(taken) {
  const date = cameraDate(taken);
  return date ? moments.format(date) : "";
}

/** Seconds -> "about 6 min", coarser the longer it is. */
export function duration(seconds) {
  if (seconds < 50) return "less than a minute";
  const minutes = Math.round(seconds / 60);
  if (minutes < 90) return `about ${number(minutes)} min`;
  return `about ${count(Math.round(minutes / 60), "hour", "hours")}`;
}

export const text = {
  title: "Photo search",
  placeholder: "Search your photos",
  boxLabel: "Search your photos by what they show",
  clear: "Clear the search",
  gridLabel: "Photos",
  matchesLabel: "Matches",
  newest: "Newest photos",
  found: (n, more) => (more ? `${number(n)}+ photos` : photos(n)),
  foundFor: (n, more, query) =>
    `${more ? `More than ${photos(n)}` : n ? photos(n) : "No photos"} for ${query}`,
  newestShown: (n) => `Newest photos: ${number(n)} shown`,
  lessLikely: "Less likely",
  showLessLikely: "Show less likely photos",
  hint: "Keys",
  photoAlt: (name, date, offline) =>
    [name, date, offline ? "offline" : ""].filter(Boolean).join(", "),
  offline: "offline",

  likeChip: (name) => `like: ${name}`,
  removeLike: (name) => `Stop looking for photos like ${name}`,
  likeThis: "the chosen photo",

  noMatch: (query) => `Nothing looks like “${query}”`,
  noMatchLike: "Nothing looks like the chosen photo",
  noMatchAdvice: "Try other words: what the photo shows, not what it is called.",
  notIndexed: (n) =>
    `${count(n, "photo is", "photos are")} not indexed yet and may still match.`,
  showAnyway: "Show the nearest anyway",
  firstPhotos: "Your photos appear here",
  firstPhotosAdvice: "They can be searched as soon as each one is indexed, starting now.",
  noPhotos: "No photos here yet",
  noPhotosAdvice: (folders) => `Put photos into ${folders}, and they appear here by themselves.`,

  signIn: "Open photosearch again",
  signInAdvice: "To keep your photos private, this page opens only from your own terminal. Run",
  signInCommand: "photosearch open",
  signInOr: "or",
  signInOtherCommand: "python3 app.py open",
  signInLabel: "Or paste a code, link or token here",
  signInButton: "Sign in",

  indexed: (done, all, left) =>
    [`${number(done)} of ${number(all)}`, left].filter(Boolean).join(" – "),
  timeLeft: duration,
  looking: "Looking through your folders…",
  ready: (n) => `${photos(n)} searchable`,
  readyAnnounced: (n) => `Indexing finished. ${photos(n)} can be searched.`,
  progressAnnounced: (done, all, left) =>
    [`Indexed ${number(done)} of ${photos(all)}`, left].filter(Boolean).join(", "),
  pausedAt: (done, all) => `Paused – ${number(done)} of ${number(all)}`,
  paused: "Indexing is paused",
  pause: "Pause indexing",
  resume: "Resume indexing",
  progressLabel: "Indexing",
  rejected: (n) => `${count(n, "file", "files")} not readable`,
  rejectedTitle: "Files that could not be read",
  rejectedAdvice: "They are tried again when they change. Nothing was altered.",
  offlineRoots: (folders) => `Not connected: ${folders}`,
  offlineRootsAdvice: "Its photos stay searchable and come back by themselves.",
  privacy: "Nothing leaves this computer",
  privacyTitle: "Nothing leaves this computer",
  privacyAdvice:
    "Your photos are searched by a program on this computer. It answers this page only, and opens no other connection.",
  folders: "Folders",
  folderOffline: "not connected",
  indexSize: "Index and thumbnails",
  model: "Model",
  megabytes: (bytes) => `${number(Math.max(1, Math.round(bytes / 1e6)))} MB`,

  down: "photosearch is not running. Trying again…",
  failed: "That did not work.",
  notConnected: (name) => `${name} is in a folder that is not connected now.`,
  opening: (name) => `Opening ${name}…`,
  revealing: (name) => `Showing ${name} in its folder…`,

  open: "Open",
  reveal: "Show in folder",
  moreLikeThis: "More like this",
  close: "Close",
  previous: "Previous photo",
  next: "Next photo",
  previewLabel: (name) => `Preview of ${name}`,
  pixels: (width, height) => `${number(width)} × ${number(height)}`,

  keysTitle: "Keys",
  keys: [
    [["/"], "Go to the search box"],
    [["↓"], "From the box into the photos"],
    [["←", "→", "↑", "↓"], "Move between photos"],
    [["Home", "End"], "First and last photo"],
    [["Space"], "Preview, and close it"],
    [["Enter"], "Open the photo"],
    [["Ctrl", "Enter"], "Show the photo in its folder"],
    [["Esc"], "Back: preview, photos, text"],
    [["?"], "This list"],
  ],
  macControl: "⌘",
};
