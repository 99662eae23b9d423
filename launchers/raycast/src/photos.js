// Ask `photosearch search --json`. Knows nothing of Raycast, so that Node alone can test it.

import { execFile } from "node:child_process";
import { basename } from "node:path";

const COUNT = 40;
const NOTHING_FOUND = 1;

/** `"/my python/bin/python" app.py` -> its words. @param {string} line @returns {string[]} */
export function words(line) {
  return [...line.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map(
    ([, double, single, bare]) => double ?? single ?? bare,
  );
}

/**
 * @typedef {{ path: string, name: string, about: string }} Photo
 * @param {string} output one JSON object a line
 * @returns {Photo[]}
 */
export function photos(output) {
  return output
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line))
    .map(({ path, taken, why }) => ({
      path,
      name: basename(path),
      about: [(taken ?? "").slice(0, 10), ...why].filter(Boolean).join(" · "),
    }));
}

/**
 * The photos for a query, best first. Rejects with what photosearch says, or an AbortError.
 * @param {string} command
 * @param {string} query
 * @param {AbortSignal} [signal]
 * @returns {Promise<Photo[]>}
 */
export function search(command, query, signal) {
  if (!query.trim()) return Promise.resolve([]);
  const [program, ...rest] = words(command);
  const args = [...rest, "search", "--json", "-n", String(COUNT), "--", query];
  return new Promise((resolve, reject) => {
    execFile(program, args, { signal, maxBuffer: 8 << 20 }, (error, out, said) => {
      if (!error || error.code === NOTHING_FOUND) return resolve(photos(out));
      if (error.name === "AbortError") return reject(error);
      const last = said.trim().split("\n").at(-1) || error.message;
      reject(new Error(last.replace(/^photosearch: /, "")));
    });
  });
}
