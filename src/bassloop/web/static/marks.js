/** What a log's lines are marked with: the place in the address, the line that broke it, folds and pauses. */

import { textElement, lineOf } from "./lines.js";
import { hashOf } from "./places.js";

/** @typedef {{ row: number, from: number, to: number, first: number } | null} Lines lines of a log: `to` is the
 * last, `first` the one from which a range is extended */

export class Marks {
  /** @type {Lines} those that the address names */
  chosen = null;

  /** @param {Lines} broke those that broke the run */
  constructor(broke) {
    this.broke = broke;
  }

  /** Mark lines that have come into a log's window. @param {import("./logview.js").LogView} view @param {Iterable<HTMLElement>} elements */
  dress(view, elements) {
    for (const element of elements) {
      const line = lineOf(element);
      element.classList.toggle("marked", within(this.chosen, view.row, line));
      element.classList.toggle("broke", within(this.broke, view.row, line));
      const section = view.folds.headed(line);
      if (section) head(view, element, section);
      else if (element.querySelector(".fold")) unhead(element);
    }
  }

  /** A line's number was clicked: mark it, or with Shift all from the one that is marked to it.
   * @param {number} row @param {number} line @param {boolean} extend @returns {string} the address */
  choose(row, line, extend) {
    const old = this.chosen;
    const first = extend && old && old.row === row ? old.first : line;
    this.chosen = { row, from: Math.min(first, line), to: Math.max(first, line), first };
    return hashOf(row, this.chosen.from, this.chosen.to);
  }
}

/** @param {Lines} lines @param {number} row @param {number} line */
function within(lines, row, line) {
  return lines !== null && lines.row === row && lines.from <= line && line <= lines.to;
}

/** @param {import("./logview.js").LogView} view @param {HTMLElement} element @param {import("./folds.js").Section} section */
function head(view, element, section) {
  element.classList.add("folds", section.kind);
  element.classList.toggle("folded", section.folded);
  const count = section.end - section.line;
  if (section.kind === "pause") element.dataset.gap = section.title;
  else if (!element.querySelector(".title")) {
    const title = textElement("");
    title.classList.add("title");
    title.textContent = section.title || "group";
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
function unhead(element) {
  element.querySelector(".fold")?.remove();
  element.classList.remove("folds", "group", "pause", "folded");
  delete element.dataset.gap;
  delete element.dataset.count;
}
