/** A list of runs that stays current: the server sends the rows that have changed, and the order of all. */

import { connect } from "./live_feed.js";
import { showRelativeTimes } from "./times.js";

const box = /** @type {HTMLElement} */ (document.getElementById("runs"));
const list = /** @type {HTMLElement} */ (box.querySelector("ol.runs"));
const emptyNote = document.getElementById("nothing");
const maxRows = Number(box.dataset.most || 50);

/** @param {string} html */
function rowFrom(html) {
  const template = document.createElement("template");
  template.innerHTML = html;
  return /** @type {HTMLElement} */ (template.content.querySelector("li"));
}

/** @param {{ order: string[], rows: Record<string, string> }} update */
function show({ order, rows }) {
  const known = new Map(/** @type {HTMLElement[]} */ ([...list.children]).map((row) => [row.dataset.run, row]));
  const focused = /** @type {HTMLElement | null | undefined} */ (document.activeElement?.closest("li.run"))?.dataset.run;
  /** @type {HTMLElement | null} */
  let next = null;
  for (const id of order.slice(0, maxRows).reverse()) {
    let row = known.get(id);
    // A row that has the focus stays as it is: replacing it would lose the focus.
    if (rows[id] && (!row || id !== focused)) {
      const fresh = rowFrom(rows[id]);
      row?.replaceWith(fresh);
      row = fresh;
    }
    if (!row) continue;
    if (row.nextElementSibling !== next || row.parentNode !== list) list.insertBefore(row, next);
    next = row;
    known.delete(id);
  }
  for (const row of known.values()) row.remove();
  showRelativeTimes(list);
  if (emptyNote) emptyNote.hidden = list.children.length > 0;
}

if (box.dataset.live) {
  connect(box.dataset.live, {
    hello: () => null,
    receive: (update) => {
      show(update);
      return false;
    },
    connectionChanged: () => {},
    pauses: true,
  });
}
