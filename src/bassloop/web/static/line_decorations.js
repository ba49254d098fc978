/** The decorations of a log's lines: selection, failing lines, fold buttons, pauses and times. */

import { formatAnchor, lineOf } from "./log_lines.js";
import { preference } from "./preferences.js";
import { formatElapsed, formatTimeOfDay } from "./times.js";

/** @typedef {{ row: number, from: number, to: number, anchor: number } | null} LineRange lines of a step's log: `to`
 * is the last one, and Shift-click extends the range from `anchor` */

/** @typedef {import("./log_view.js").LogView} LogView */

/** How deep titles of nested groups are indented. */
const MAX_DEPTH = 8;

export class LineDecorations {
  /** @type {LineRange} the lines that the address names */
  selection = null;

  /** @param {LineRange} failing the lines that made the run fail */
  constructor(failing) {
    this.failing = failing;
  }

  /** Decorate lines of a log. @param {LogView} view @param {Iterable<Element>} elements */
  apply(view, elements) {
    for (const element of /** @type {Iterable<HTMLElement>} */ (elements)) {
      const line = lineOf(element);
      element.classList.toggle("selected", contains(this.selection, view.row, line));
      element.classList.toggle("failing", contains(this.failing, view.row, line));
      const section = view.folds.startingAt(line);
      if (section) addFold(view, element, section);
      else if (element.querySelector(".fold")) removeFold(element);
    }
  }

  /** Select a line, or extend the selection to it. Returns the selection's anchor.
   * @param {number} row @param {number} line @param {boolean} extend @returns {string} */
  select(row, line, extend) {
    const previous = this.selection;
    const anchor = extend && previous && previous.row === row ? previous.anchor : line;
    this.selection = { row, from: Math.min(anchor, line), to: Math.max(anchor, line), anchor };
    return formatAnchor(row, this.selection.from, this.selection.to);
  }
}

/**
 * Show the times of the lines in a log's window, as the preference says.
 * @param {LogView} view
 * @param {number} startedAt seconds since the epoch; NaN if the step has not started
 */
export async function showTimes(view, startedAt) {
  const format = preference("times");
  const elements = /** @type {HTMLElement[]} */ ([...view.lines.children]);
  const missing = elements.filter((element) => element.dataset.timeFormat !== format);
  if (format === "none" || !missing.length) return;
  const from = lineOf(missing[0]);
  const times = await view.cache.times(from, lineOf(missing[missing.length - 1]) + 1);
  for (const element of missing) {
    const time = times[lineOf(element) - from];
    if (Number.isNaN(time) || time === undefined) continue;
    element.dataset.timeFormat = format;
    element.dataset.time = format === "relative" ? formatElapsed(time - (Number.isNaN(startedAt) ? times[0] : startedAt)) : formatTimeOfDay(time);
    element.title = new Date(time * 1000).toISOString();
  }
}

/** @param {LineRange} range @param {number} row @param {number} line */
function contains(range, row, line) {
  return range !== null && range.row === row && range.from <= line && line <= range.to;
}

/** @param {LogView} view @param {HTMLElement} element @param {import("./folds.js").Section} section */
function addFold(view, element, section) {
  element.classList.add("foldable", section.kind);
  element.classList.toggle("folded", section.folded);
  const count = section.end - section.line;
  if (section.kind === "pause") element.dataset.gap = section.title;
  else if (!element.querySelector(".title")) {
    const title = Object.assign(document.createElement("span"), { className: "text title" });
    title.textContent = section.title || "group";
    if (section.depth) title.style.paddingLeft = `${2 * Math.min(section.depth, MAX_DEPTH)}ch`;
    element.querySelector(".text")?.replaceWith(title);
  }
  element.dataset.count = section.folded ? `${count.toLocaleString("en")} line${count === 1 ? "" : "s"}` : "";
  let button = /** @type {HTMLButtonElement | null} */ (element.querySelector(".fold"));
  if (!button) {
    button = document.createElement("button");
    button.type = "button";
    button.className = "fold";
    element.insertBefore(button, element.querySelector(".text"));
  }
  button.setAttribute("aria-expanded", String(!section.folded));
  button.setAttribute("aria-label", `${section.folded ? "Unfold" : "Fold"} ${section.title || "group"}`);
  button.onclick = () => {
    section.folded = !section.folded;
    view.refold();
  };
}

/** @param {HTMLElement} element */
function removeFold(element) {
  element.querySelector(".fold")?.remove();
  element.classList.remove("foldable", "group", "pause", "folded");
  delete element.dataset.gap;
  delete element.dataset.count;
}
