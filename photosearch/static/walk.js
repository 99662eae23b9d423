// Where an arrow key leads in the grid. Pure.

/**
 * The grid has two parts of `columns` columns: photos 0..first-1, then first..total-1, each
 * part beginning a new row; mirrored, rows run from right to left. Returns the next photo, or -1 for out of the top of the grid.
 */
export function walk(key, at, { columns, first, total, isMirrored = false }) {
  if (isMirrored) key = { ArrowLeft: "ArrowRight", ArrowRight: "ArrowLeft" }[key] ?? key;
  if (key === "Home") return 0;
  if (key === "End") return total - 1;
  if (key === "ArrowLeft") return Math.max(at - 1, 0);
  if (key === "ArrowRight") return Math.min(at + 1, total - 1);
  const [start, end] = at < first ? [0, first] : [first, total];
  const column = (at - start) % columns;
  return key === "ArrowUp"
    ? up(at, column, start, columns)
    : down(at, column, end, { columns, first, total });
}

function up(at, column, start, columns) {
  if (at - columns >= start) return at - columns;
  if (start === 0) return -1;
  const lastRow = Math.floor((start - 1) / columns) * columns;
  return Math.min(lastRow + column, start - 1);
}

function down(at, column, end, { columns, first, total }) {
  if (at + columns < end) return at + columns;
  const isLastRow = at - column + columns >= end;
  if (!isLastRow) return end - 1; // the next row is shorter than this one
  return end < total ? Math.min(first + column, total - 1) : at;
}
