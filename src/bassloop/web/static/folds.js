/**
 * The folded sections of a log. Lines are numbered as in the log. Positions count only the lines that are
 * shown.
 */

/**
 * @typedef {object} Section
 * @property {number} line the first line, which stays when the others are folded
 * @property {number} end the last line
 * @property {string} title
 * @property {"group" | "pause"} kind
 * @property {number} depth the number of groups around a group
 * @property {boolean} [startsOpen] is true for a group that is shown until somebody folds it
 * @property {boolean} folded
 */

/** @typedef {{ from: number, to: number, position: number, hidden: number }} Cut lines `from` to `to` are hidden:
 * `position` is that of the line after them, `hidden` the number of lines hidden up to there */

export class Folds {
  /** @type {Section[]} in the order of their lines */
  sections = [];
  /** @type {Cut[]} */
  #cuts = [];

  /** The number of lines that are hidden. */
  get hidden() {
    return this.#cuts.at(-1)?.hidden ?? 0;
  }

  /** Apply changes to the sections. */
  update() {
    this.#cuts = [];
    let hidden = 0;
    for (const section of this.sections) {
      const from = Math.max(section.line + 1, this.#cuts.at(-1)?.to ?? 0);
      if (!section.folded || section.end + 1 <= from) continue;
      hidden += section.end + 1 - from;
      this.#cuts.push({ from, to: section.end + 1, position: section.end + 1 - hidden, hidden });
    }
  }

  /** @param {number} position @returns {number} */
  lineAt(position) {
    const index = this.#lastCut((cut) => cut.position <= position);
    return position + (index < 0 ? 0 : this.#cuts[index].hidden);
  }

  /** Return the position of a line, or of the section that it is folded into. @param {number} line @returns {number} */
  positionOf(line) {
    const index = this.#lastCut((cut) => cut.from <= line);
    if (index < 0) return line;
    const cut = this.#cuts[index];
    return line < cut.to ? cut.position - 1 : line - cut.hidden;
  }

  /**
   * Return the lines at positions `first` to `last` as ranges.
   * @param {number} first
   * @param {number} last
   * @returns {[number, number][]}
   */
  ranges(first, last) {
    if (last <= first) return [];
    /** @type {[number, number][]} */
    const found = [];
    let line = this.lineAt(first);
    const stop = this.lineAt(last - 1) + 1;
    for (const cut of this.#cuts.slice(Math.max(0, this.#lastCut((cut) => cut.from <= line)))) {
      if (cut.to <= line) continue;
      if (cut.from >= stop) break;
      if (cut.from > line) found.push([line, cut.from]);
      line = cut.to;
    }
    if (line < stop) found.push([line, stop]);
    return found;
  }

  /** Return the section that starts at a line. @param {number} line @returns {Section | undefined} */
  startingAt(line) {
    const index = bisect(this.sections, (section) => section.line < line);
    return this.sections[index]?.line === line ? this.sections[index] : undefined;
  }

  /** Unfold the sections that a line is in. @param {number} line */
  reveal(line) {
    const folded = this.sections.filter((section) => section.folded && section.line < line && line <= section.end);
    for (const section of folded) section.folded = false;
    if (folded.length) this.update();
  }

  /** Return the index of the last cut that fulfills a condition. All cuts before it must fulfill it too. @param {(cut: Cut) => boolean} condition */
  #lastCut(condition) {
    return bisect(this.#cuts, condition) - 1;
  }
}

/**
 * Return the index of the first item that doesn't fulfill a condition. No item after it may fulfill it.
 * @template T
 * @param {ArrayLike<T>} items
 * @param {(item: T) => boolean} condition
 */
export function bisect(items, condition) {
  let low = 0;
  let high = items.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (condition(items[middle])) low = middle + 1;
    else high = middle;
  }
  return low;
}
