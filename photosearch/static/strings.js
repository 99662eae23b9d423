// The page's words in its language, and how dates and numbers are written there.

import { english } from "./english.js";

// Two made-up languages show what is missing in translations, and what does not turn around.
const PSEUDO = { "en-XA": "ltr", "ar-XB": "rtl" };
const wanted = new URLSearchParams(location.search).get("lang");

export const language = wanted in PSEUDO ? wanted : "en";
export const isRightToLeft = PSEUDO[language] === "rtl";
const LOCALE = "en"; // of numbers and dates, also in the made-up languages

document.documentElement.lang = language;
document.documentElement.dir = isRightToLeft ? "rtl" : "ltr";

const numbers = new Intl.NumberFormat(LOCALE);
const plural = new Intl.PluralRules(LOCALE);
// A camera's clock has no zone: its date is shown as it was written, wherever we are.
const days = new Intl.DateTimeFormat(LOCALE, { dateStyle: "long", timeZone: "UTC" });
const moments = new Intl.DateTimeFormat(LOCALE, {
  dateStyle: "long",
  timeStyle: "short",
  timeZone: "UTC",
});
const names = new Intl.ListFormat(LOCALE, { type: "conjunction" });

export const number = (value) => numbers.format(value);
export const list = (items) => names.format(items);

const count = (n, one, other) => `${number(n)} ${plural.select(n) === "one" ? one : other}`;

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
  return date ? (taken.includes("T") ? moments : days).format(date) : "";
}

const table = english({ number, count });
export const text =
  language === "en" ? table : (await import("./pseudo.js")).pseudo(table);
