/** Addresses within a run's page: `#v3` is a vertex, `#v3-L120` a line of its log, `#v3-L120-L140` some. */

/** @typedef {{ row: number, from: number, to: number } | { row: number }} Place lines from 0; `to` is the last */

const FORM = /^#v(\d{1,15})(?:-L(\d{1,12})(?:-L(\d{1,12}))?)?$/;

/** @param {string} hash @returns {{ row: number, from?: number, to?: number } | null} */
export function placeOf(hash) {
  const found = FORM.exec(hash);
  if (!found) return null;
  const row = Number(found[1]);
  if (!found[2]) return { row };
  const lines = [Number(found[2]), Number(found[3] ?? found[2])].map((number) => Math.max(0, number - 1));
  return { row, from: Math.min(...lines), to: Math.max(...lines) };
}

/** @param {number} row @param {number} [from] @param {number} [to] */
export function hashOf(row, from, to) {
  if (from === undefined) return `#v${row}`;
  return to === undefined || to === from ? `#v${row}-L${from + 1}` : `#v${row}-L${from + 1}-L${to + 1}`;
}
