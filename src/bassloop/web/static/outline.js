/** What is in a log beside its lines: groups and pauses, which fold, and where it speaks of errors. */

import { duration } from "./clock.js";

/** Milliseconds after which the outline of a growing log is asked for again. */
const AGAIN = 3000;

export class Outline {
  /** @type {number[]} lines that speak of an error, in order */
  errors = [];
  /** Lines that were gone through by now. */
  lines = 0;
  #asking = false;
  #asked = -Infinity;

  /** @param {import("./logview.js").LogView} view */
  constructor(view) {
    this.view = view;
  }

  /** Ask for what is not known yet, if it is not too early. @param {boolean} [now] even then */
  async update(now = false) {
    const { view } = this;
    if (this.#asking || this.lines >= view.total || (!now && performance.now() - this.#asked < AGAIN)) return;
    this.#asking = true;
    try {
      for (let complete = false; !complete; ) {
        const before = this.lines;
        const answer = await fetch(`${view.source.address}/outline`);
        if (!answer.ok) return;
        const found = await answer.json();
        complete = found.complete || found.lines <= before;
        if (this.#take(found)) await view.refold();
      }
    } finally {
      this.#asking = false;
      this.#asked = performance.now();
    }
  }

  /** @param {any} found @returns {boolean} whether it has other sections than were known */
  #take(found) {
    const { folds } = this.view;
    const before = JSON.stringify(folds.sections);
    this.lines = found.lines;
    this.errors = found.errors;
    const known = new Map(folds.sections.map((section) => [`${section.kind} ${section.line}`, section]));
    const groups = found.groups
      .filter((/** @type {any} */ group) => group.end !== null)
      .map((/** @type {any} */ group) => ({ line: group.line, end: group.end, title: group.title, kind: "group" }));
    const pauses = found.gaps.map((/** @type {any} */ gap, /** @type {number} */ index) => ({
      line: gap.line,
      end: (found.gaps[index + 1]?.line ?? found.total) - 1,
      title: `after ${duration(gap.seconds)} without a line`,
      kind: "pause",
    }));
    folds.sections = [...groups, ...pauses].sort((one, other) => one.line - other.line || one.end - other.end);
    for (const section of folds.sections) {
      const key = `${section.kind} ${section.line}`;
      section.folded = known.get(key)?.folded ?? this.#foldsAtFirst(section);
    }
    return JSON.stringify(folds.sections) !== before;
  }

  /** A group that is over is folded when it is first heard of, unless it holds what somebody wants to see.
   * @param {import("./folds.js").Section} section */
  #foldsAtFirst(section) {
    if (section.kind !== "group") return false;
    const holds = (/** @type {number} */ line) => section.line < line && line <= section.end;
    return !this.errors.some(holds) && !this.view.wanted.some(holds);
  }

  /** Fold all groups, or unfold all if all are. */
  async foldAll() {
    const groups = this.view.folds.sections.filter((section) => section.kind === "group");
    const fold = groups.some((section) => !section.folded);
    for (const section of groups) section.folded = fold;
    await this.view.refold();
  }

  /** The first line of the next place that speaks of an error. @param {number} line @param {1 | -1} way */
  errorAfter(line, way) {
    const begins = this.errors.filter((each, index) => index === 0 || each > this.errors[index - 1] + 2);
    return way > 0 ? begins.find((each) => each > line) : begins.findLast((each) => each < line);
  }
}
