// A made-up language: every word of the table in brackets, and a third longer, as German is.
// What the page shows without brackets is missing from the table.

const mark = (words) => (words === "" ? "" : `⟦${words}${"~".repeat(Math.ceil(words.length / 3))}⟧`);

/** The same table, marked. Keys of the keyboard keep their names. */
export function pseudo(table) {
  return Object.fromEntries(
    Object.entries(table).map(([name, value]) => [
      name,
      name === "keys" ? value.map(([keys, does]) => [keys, mark(does)]) : marked(value),
    ]),
  );
}

function marked(value) {
  if (typeof value === "string") return mark(value);
  if (typeof value === "function") return (...given) => mark(value(...given));
  return pseudo(value);
}
