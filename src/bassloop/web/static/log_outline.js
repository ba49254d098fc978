/** The outline of a log: groups and pauses, which can be folded, and lines with errors. */

import { get } from "./requests.js";
import { formatDuration } from "./times.js";

/** Milliseconds after which the outline of a growing log is fetched again. */
const REFRESH_INTERVAL = 3000;

/** Lines with errors that are this close to each other are one error. */
const SAME_ERROR = 2;

export class LogOutline {
  /** @type {number[]} lines with an error, in order */
  errors = [];
  /** Lines scanned so far. */
  lines = 0;
  #fetching = false;
  #fetchedAt = -Infinity;

  /** @param {import("./log_view.js").LogView} view */
  constructor(view) {
    this.view = view;
  }

  /** Fetch the new part, unless it was fetched just now. @param {boolean} [force] fetch it in any case */
  async update(force = false) {
    const { view } = this;
    if (this.#fetching || this.lines >= view.total || (!force && performance.now() - this.#fetchedAt < REFRESH_INTERVAL)) return;
    this.#fetching = true;
    try {
      for (let complete = false; !complete; ) {
        const before = this.lines;
        const response = await get(`${view.cache.url}/outline`);
        if (!response?.ok) return;
        const outline = await response.json();
        complete = outline.complete || outline.lines <= before;
        if (this.#apply(outline)) await view.refold();
      }
    } finally {
      this.#fetching = false;
      this.#fetchedAt = performance.now();
    }
  }

  /** @param {any} outline @returns {boolean} whether the sections have changed */
  #apply(outline) {
    const { folds } = this.view;
    const before = JSON.stringify(folds.sections);
    this.lines = outline.lines;
    this.errors = outline.errors;
    const known = new Map(folds.sections.map((section) => [`${section.kind} ${section.line}`, section]));
    const groups = outline.groups
      .filter((/** @type {any} */ group) => group.end !== null)
      .map((/** @type {any} */ group) => ({ line: group.line, end: group.end, title: group.title, kind: "group", startsOpen: group.open }));
    const pauses = outline.gaps.map((/** @type {any} */ gap, /** @type {number} */ index) => ({
      line: gap.line,
      end: (outline.gaps[index + 1]?.line ?? outline.total) - 1,
      title: `after ${formatDuration(gap.seconds)} without output`,
      kind: "pause",
    }));
    folds.sections = [...groups, ...pauses].sort((one, other) => one.line - other.line || one.end - other.end);
    /** @type {number[]} where the groups end that are around the next one */
    const around = [];
    for (const section of folds.sections) {
      while (around.length && around[around.length - 1] < section.line) around.pop();
      section.depth = around.length;
      if (section.kind === "group") around.push(section.end);
      section.folded = known.get(`${section.kind} ${section.line}`)?.folded ?? this.#startsFolded(section);
    }
    return JSON.stringify(folds.sections) !== before;
  }

  /** Fold a new group unless it contains an error, or lines that somebody wants to see.
   * @param {import("./folds.js").Section} section */
  #startsFolded(section) {
    if (section.kind !== "group" || section.startsOpen) return false;
    const holds = (/** @type {number} */ line) => section.line < line && line <= section.end;
    return !this.errors.some(holds) && !this.view.keepVisible.some(holds);
  }

  /** Fold all groups, or unfold them if all are folded. */
  async toggleAll() {
    const groups = this.view.folds.sections.filter((section) => section.kind === "group");
    const fold = groups.some((section) => !section.folded);
    for (const section of groups) section.folded = fold;
    await this.view.refold();
  }

  /** Return the first line of the next error, or of the previous one. @param {number} line @param {1 | -1} direction */
  errorFrom(line, direction) {
    const starts = this.errors.filter((each, index) => index === 0 || each > this.errors[index - 1] + SAME_ERROR);
    return direction > 0 ? starts.find((each) => each > line) : starts.findLast((each) => each < line);
  }
}
