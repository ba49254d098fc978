/**
 * Which lines of a log are folded away: lines are numbered as the log has them, places as they are shown.
 */

/**
 * @typedef {object} Section
 * @property {number} line the one that stays when the others are folded
 * @property {number} end the last one
 * @property {string} title
 * @property {"group" | "pause"} kind
 * @property {boolean} folded
 */

/** @typedef {{ from: number, to: number, at: number, hidden: number }} Cut lines `from` to `to` are hidden:
 * `at` is the place of what comes after, `hidden` how many lines are hidden up to there */

export class Folds {
  /** @type {Section[]} in the order of their lines */
  sections = [];
  /** @type {Cut[]} */
  #cuts = [];

  /** Lines that are hidden. */
  get hidden() {
    return this.#cuts.at(-1)?.hidden ?? 0;
  }

  /** To be called when a section was folded, unfolded or added. */
  changed() {
    this.#cuts = [];
    let hidden = 0;
    for (const section of this.sections) {
      const from = Math.max(section.line + 1, this.#cuts.at(-1)?.to ?? 0);
      if (!section.folded || section.end + 1 <= from) continue;
      hidden += section.end + 1 - from;
      this.#cuts.push({ from, to: section.end + 1, at: section.end + 1 - hidden, hidden });
    }
  }

  /** @param {number} place @returns {number} */
  lineAt(place) {
    return place + this.#last((cut) => cut.at <= place, "hidden");
  }

  /** The place of a line, or of what it is folded into. @param {number} line @returns {number} */
  placeOf(line) {
    const index = this.#find((cut) => cut.from <= line);
    if (index < 0) return line;
    const cut = this.#cuts[index];
    return line < cut.to ? cut.at - 1 : line - cut.hidden;
  }

  /** @param {number} line */
  isHidden(line) {
    const index = this.#find((cut) => cut.from <= line);
    return index >= 0 && line < this.#cuts[index].to;
  }

  /**
   * Lines at places `first` to `last`, as ranges.
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
    for (const cut of this.#cuts.slice(Math.max(0, this.#find((cut) => cut.from <= line)))) {
      if (cut.to <= line) continue;
      if (cut.from >= stop) break;
      if (cut.from > line) found.push([line, cut.from]);
      line = cut.to;
    }
    if (line < stop) found.push([line, stop]);
    return found;
  }

  /** @param {number} line @returns {Section | undefined} the section that a line is the head of */
  headed(line) {
    let low = 0;
    let high = this.sections.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.sections[middle].line < line) low = middle + 1;
      else high = middle;
    }
    return this.sections[low]?.line === line ? this.sections[low] : undefined;
  }

  /** Unfold what a line is in. @param {number} line @returns {boolean} whether something was folded */
  reveal(line) {
    const folded = this.sections.filter((each) => each.folded && each.line < line && line <= each.end);
    for (const section of folded) section.folded = false;
    if (folded.length) this.changed();
    return folded.length > 0;
  }

  /** @param {(cut: Cut) => boolean} holds for the first ones @returns {number} the last one for which it holds */
  #find(holds) {
    let low = 0;
    let high = this.#cuts.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (holds(this.#cuts[middle])) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  /** @param {(cut: Cut) => boolean} holds @param {"hidden"} what */
  #last(holds, what) {
    const index = this.#find(holds);
    return index < 0 ? 0 : this.#cuts[index][what];
  }
}
