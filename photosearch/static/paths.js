// Paths as the system spells them. A name that is not UTF-8 arrives with lone surrogates.

/** A path that can be shown: what is not text becomes U+FFFD. */
export function shown(path) {
  return path.toWellFormed ? path.toWellFormed() : path.replace(/\p{Surrogate}/gu, "\ufffd");
}

/** The part after the last separator. A back slash separates only in a Windows path. */
function cut(path) {
  return path.startsWith("/") ? path.lastIndexOf("/") : path.search(/[\\/][^\\/]*$/);
}

export const fileName = (path) => shown(path.slice(cut(path) + 1));
export const folderName = (path) => shown(path.slice(0, Math.max(cut(path), 1)));
