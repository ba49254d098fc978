/** Times beside lines, on demand. */

import { since, timeOfDay } from "./clock.js";
import { lineOf } from "./lines.js";
import { look } from "./looks.js";

/**
 * Give the lines of a log's window their times, those that have none yet.
 * @param {import("./logview.js").LogView} view
 * @param {number} began seconds since the epoch; NaN if the step has not begun
 */
export async function stamp(view, began) {
  const form = look("times");
  const elements = /** @type {HTMLElement[]} */ ([...view.lines.children]);
  const wanted = elements.filter((element) => element.dataset.stamped !== form);
  if (form === "none" || !wanted.length) return;
  const from = lineOf(wanted[0]);
  const times = await view.source.times(from, lineOf(wanted[wanted.length - 1]) + 1);
  for (const element of wanted) {
    const at = times[lineOf(element) - from];
    if (Number.isNaN(at) || at === undefined) continue;
    element.dataset.stamped = form;
    element.dataset.at = form === "relative" ? since(at - (Number.isNaN(began) ? times[0] : began)) : timeOfDay(at);
    element.title = new Date(at * 1000).toISOString();
  }
}
