// A photo on the clipboard, or dragged into another program.

import { original, picture } from "./api.js";
import { fileName } from "./paths.js";

/** Copy the photo as a picture, and its path as text for who pastes words. */
export async function copyPhoto(hit) {
  if (!navigator.clipboard?.write || hit.offline) return copyPath(hit);
  const item = new ClipboardItem({
    "image/png": asPng(hit.photo_id),
    "text/plain": new Blob([hit.path], { type: "text/plain" }),
  });
  try {
    await navigator.clipboard.write([item]);
    return true;
  } catch {
    return copyPath(hit); // refused, or too large for this browser
  }
}

/** Copy the path alone. Answers false: no picture was copied. */
export async function copyPath(hit) {
  await navigator.clipboard?.writeText(hit.path);
  return false;
}

/** Clipboards take PNG. What the browser cannot decode itself, the daemon's preview stands for. */
async function asPng(id) {
  const bitmap = (await decoded(original(id))) ?? (await decoded(picture(id)));
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();
  return canvas.convertToBlob({ type: "image/png" });
}

async function decoded(url) {
  try {
    return await createImageBitmap(await (await fetch(url)).blob());
  } catch {
    return null;
  }
}

/** Give a drag the file. Browsers let no page name a file of the system's, so that what is
 * dropped on a file manager or a letter is downloaded from the daemon, under its own name. */
export function dragPhoto(transfer, hit) {
  transfer.effectAllowed = "copy";
  transfer.setData("text/plain", hit.path);
  if (hit.offline) return;
  const url = new URL(original(hit.photo_id), location.href);
  const name = fileName(hit.path).replaceAll(":", "_"); // colons part this string's fields
  transfer.setData("DownloadURL", `application/octet-stream:${name}:${url}`);
}
