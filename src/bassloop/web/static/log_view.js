/**
 * A virtualized log in the page's own scrolling.
 *
 * Only a window of lines is in the document, in normal flow, so that lines may wrap and be selected as text.
 * Empty space stands for the lines above and below: a line's height each, or less where the page would
 * grow taller than browsers allow (Chromium: 33,554,428 px). While the reader scrolls, the window moves along,
 * and the space above absorbs what it must so that nothing jumps; when they stop, it gets its proper height
 * again. It is the padding of the box with the lines, whose place in the page never changes. The window is counted in positions, which leave out folded lines.
 */

import { COVERED, keepInPlace, scrollDown, scrollTo } from "./auto_scroll.js";
import { bisect, Folds } from "./folds.js";
import { LineCache } from "./line_cache.js";
import { htmlOf, lineElement, lineOf } from "./log_lines.js";

/** Lines that are added at a time, and that are in the document at most. */
const BATCH = 200;
const MAX_LINES = 900;

/** Pixels beyond the screen that are filled with lines. */
const OVERSCAN = 1500;

/** Height in pixels of both boxes at most: a page has room for a dozen logs of this height. */
const MAX_HEIGHT = 2_000_000;

/**
 * @typedef {object} Callbacks
 * @property {(view: LogView, elements: HTMLElement[]) => void} linesAdded called with lines that came into the window
 * @property {() => void} windowChanged
 */

/** @typedef {{ line: number, top: number, approximate?: boolean }} Anchor a line, and where on the screen it should
 * stay; an approximate position isn't worth scrolling for */

export class LogView {
  folds = new Folds();
  /** Positions in the window: from `first` up to, not including, `last`. */
  first = 0;
  last = 0;
  /** Lines that new groups must not hide. @type {number[]} */
  keepVisible = [];
  #heightAbove = 0;
  #lineHeight = 20;
  /** Changes of the window run one after the other. */
  #queue = Promise.resolve();
  #queued = 0;

  /**
   * @param {HTMLElement} log with the boxes `lines`, `below` and `screen` in it
   * @param {number} row the step's
   * @param {string} url the step's
   * @param {Callbacks} callbacks
   */
  constructor(log, row, url, callbacks) {
    this.log = log;
    this.row = row;
    this.callbacks = callbacks;
    this.cache = new LineCache(url);
    this.total = Number(log.dataset.total);
    const box = (/** @type {string} */ name) => /** @type {HTMLElement} */ (log.querySelector(`:scope > .${name}`));
    this.lines = box("lines");
    this.below = box("below");
    this.screen = box("screen");
    const elements = /** @type {HTMLElement[]} */ ([...this.lines.children]);
    this.first = Number(log.dataset.start);
    this.last = this.first + elements.length;
    this.cache.add(this.first, elements.map(htmlOf));
    if (elements.length) {
      this.lines.style.paddingTop = "0";
      callbacks.linesAdded(this, elements);
      // Don't scroll: the top of the page has the most important information, and the log is further down.
      this.#resizeBoxes(null, true);
    }
  }

  /** The number of lines that are shown: all but those that are folded away. */
  get positions() {
    return this.total - this.folds.hidden;
  }

  get isOpen() {
    return this.log.offsetParent !== null;
  }

  /** Whether the window reaches to the log's end. */
  get atEnd() {
    return this.last >= this.positions;
  }

  /** Height in pixels that a box has for each of its lines. */
  get #scale() {
    return Math.min(this.#lineHeight, MAX_HEIGHT / Math.max(this.positions, 1));
  }

  /** Return a line's element, if it is in the window. @param {number} line */
  element(line) {
    return document.getElementById(`v${this.row}-L${line + 1}`);
  }

  /** Fill the screen with lines. Call it after scrolling, and whenever the page has changed. */
  fillScreen() {
    if (this.#queued || !this.isOpen || !this.positions) return;
    const bounds = this.lines.getBoundingClientRect();
    const box = { top: bounds.top + this.#heightAbove, bottom: bounds.bottom };
    const height = window.innerHeight;
    if (this.#isOnScreen) {
      if (this.first > 0 && box.top > -OVERSCAN) this.#moveTo(Math.max(0, this.first - BATCH), Math.min(this.last, this.first - BATCH + MAX_LINES));
      else if (!this.atEnd && box.bottom < height + OVERSCAN) {
        const last = Math.min(this.positions, this.last + BATCH);
        this.#moveTo(Math.max(this.first, last - MAX_LINES), last);
      }
      return;
    }
    const log = this.log.getBoundingClientRect();
    if (log.bottom < -OVERSCAN || log.top > height + OVERSCAN) return;
    const y = (Math.max(log.top, 0) + Math.min(log.bottom, height)) / 2;
    if (this.first === this.last) this.#jumpTo(Math.floor((y - log.top) / this.#scale), y);
    else if (y < box.top) this.#jumpTo(Math.floor(((y - log.top) / Math.max(this.#heightAbove, 1)) * this.first), y);
    else {
      const share = (y - box.bottom) / Math.max(this.below.offsetHeight, 1);
      this.#jumpTo(this.last + Math.floor(share * (this.positions - this.last)), y);
    }
  }

  /**
   * Scroll to a line, unfolding what it is in.
   * @param {number} line
   * @param {ScrollLogicalPosition} [block] where on the screen to put it
   */
  async showLine(line, block = "center") {
    await this.#enqueue(async () => {
      this.folds.reveal(line);
      const position = this.folds.positionOf(Math.max(0, Math.min(line, this.total - 1)));
      if (!this.element(line) || position < this.first || position >= this.last) {
        await this.#renderAround(position, null);
        this.settle();
      }
      const element = this.element(this.folds.lineAt(position));
      if (element) scrollTo(element, block);
    });
    this.fillScreen();
  }

  /** Apply changes to the folds, keeping what is on the screen in place. */
  async refold() {
    await this.#enqueue(async () => {
      const anchor = this.#anchor();
      const line = anchor?.line ?? this.folds.lineAt(this.first);
      this.folds.update();
      const position = this.folds.positionOf(line);
      await this.#renderAround(position, anchor && { line: this.folds.lineAt(position), top: anchor.top });
      this.#change(() => {
        this.callbacks.linesAdded(this, /** @type {HTMLElement[]} */ ([...this.lines.children]));
        this.settle();
      });
    });
    this.fillScreen();
  }

  /**
   * Add lines to the end of the log.
   * @param {number} start the number of the first one
   * @param {string[]} lines
   * @param {number} total lines that the log has now
   * @param {boolean} showEnd whether to move the window to the end
   */
  async append(start, lines, total, showEnd) {
    const previousTotal = this.total;
    this.cache.add(start, lines);
    this.total = Math.max(this.total, total);
    this.log.dataset.total = String(this.total);
    if (!this.isOpen) return;
    await this.#enqueue(async () => {
      const { positions, last } = this;
      const room = showEnd ? MAX_LINES : MAX_LINES - (last - this.first);
      const adjacent = last + this.folds.hidden >= previousTotal && start <= previousTotal;
      if (adjacent && positions - last <= room) {
        await this.#render(showEnd ? Math.max(this.first, positions - BATCH) : this.first, positions, this.#anchor());
      } else if (showEnd) {
        await this.#render(Math.max(0, positions - BATCH), positions, null);
      }
      this.#change(() => this.#resizeBoxes(null, false));
    });
  }

  /** @param {HTMLElement[]} lines those that the terminal may still change */
  showScreen(lines) {
    this.#change(() => this.screen.replaceChildren(...lines));
  }

  /** Give both boxes their proper heights. Call it when nobody scrolls. */
  settle() {
    const anchor = this.#anchor();
    if (anchor) this.#resizeBoxes(anchor, true);
  }

  /** Change the log. If the reader is below it, keep their position. @param {() => void} change */
  #change(change) {
    const isAbove = this.isOpen && this.log.getBoundingClientRect().bottom <= COVERED;
    keepInPlace(isAbove ? this.log : null, change, "bottom");
  }

  /** @param {number} first @param {number} last */
  #moveTo(first, last) {
    return this.#fillBy(() => this.#render(first, last, this.#anchor()));
  }

  /**
   * Move the window to a position, unless the reader has gone back to the window before the lines are there.
   * @param {number} position
   * @param {number} y where on the screen to put it
   */
  async #jumpTo(position, y) {
    const target = Math.max(0, Math.min(position, this.positions - 1));
    const anchor = { line: this.folds.lineAt(target), top: y, approximate: true };
    let isBack = false;
    const isWanted = () => !(isBack = this.#isOnScreen);
    await this.#fillBy(() => this.#renderAround(target, anchor, isWanted));
    if (isBack) this.fillScreen();
  }

  /** Whether lines of the window are on the screen. */
  get #isOnScreen() {
    const { top, bottom } = this.lines.getBoundingClientRect();
    return this.last > this.first && bottom > 0 && top + this.#heightAbove < window.innerHeight;
  }

  /** Change the window, and continue to fill the screen unless that had no effect. @param {() => Promise<void>} change */
  async #fillBy(change) {
    const before = [this.first, this.last];
    await this.#enqueue(change);
    if (before[0] !== this.first || before[1] !== this.last) this.fillScreen();
  }

  /** Run a change of the window after those before it. @param {() => Promise<void>} change */
  async #enqueue(change) {
    this.#queued += 1;
    const result = this.#queue.then(change);
    this.#queue = result.catch(() => {});
    try {
      await result;
    } finally {
      this.#queued -= 1;
    }
  }

  /**
   * Move the window around a position.
   * @param {number} position
   * @param {Anchor | null} anchor
   * @param {() => boolean} [isWanted] asked once the lines are there
   */
  async #renderAround(position, anchor, isWanted) {
    const first = Math.max(0, Math.min(position - BATCH / 2, this.positions - BATCH));
    await this.#render(first, Math.min(this.positions, first + BATCH), anchor, isWanted);
  }

  /**
   * Move the window to these positions.
   * @param {number} first
   * @param {number} last
   * @param {Anchor | null} anchor
   * @param {() => boolean} [isWanted] asked once the lines are there
   */
  async #render(first, last, anchor, isWanted = () => true) {
    const wanted = this.folds.ranges(first, last).flatMap(([from, to]) => Array.from({ length: to - from }, (_, index) => from + index));
    const present = new Set([...this.lines.children].map(lineOf));
    const missing = toRanges(wanted.filter((line) => !present.has(line)));
    /** @type {string[][]} */
    let html;
    try {
      html = await Promise.all(missing.map(([from, to]) => this.cache.lines(from, to)));
    } catch (error) {
      this.#showError(error);
      return;
    }
    // The reader may have scrolled meanwhile.
    if (!isWanted()) return;
    if (anchor) anchor.top = this.element(anchor.line)?.getBoundingClientRect().top ?? anchor.top;
    /** @type {HTMLElement[]} */
    const added = [];
    missing.forEach(([from], index) => html[index].forEach((text, at) => added.push(lineElement(this.row, from + at, text))));
    this.#change(() => {
      mergeLines(this.lines, new Set(wanted), added);
      this.first = first;
      this.last = first + this.lines.childElementCount;
      this.callbacks.linesAdded(this, added);
      this.#resizeBoxes(anchor, false);
    });
    this.callbacks.windowChanged();
  }

  /**
   * Resize the boxes so that the anchor keeps its position on the screen. Scroll if that isn't possible.
   * @param {Anchor | null} anchor
   * @param {boolean} proportional whether to give them their proper heights in any case
   */
  #resizeBoxes(anchor, proportional) {
    const count = this.lines.childElementCount;
    if (count && this.isOpen) this.#lineHeight = (this.lines.offsetHeight - this.#heightAbove) / count || this.#lineHeight;
    const scale = this.#scale;
    const element = anchor && this.element(anchor.line);
    let above = this.#heightAbove;
    if (anchor && element) above += anchor.top - element.getBoundingClientRect().top;
    if (proportional || this.first === 0 || above < 0 || !element) above = this.first * scale;
    this.#heightAbove = above;
    this.lines.style.paddingTop = `${above}px`;
    this.below.style.height = `${Math.max(0, this.positions - this.last) * scale}px`;
    if (!anchor || !element || anchor.approximate) return;
    const offset = element.getBoundingClientRect().top - anchor.top;
    if (Math.abs(offset) >= 1) scrollDown(offset);
  }

  /** The first line on the screen. @returns {Element | null} */
  get topLine() {
    const elements = this.lines.children;
    const element = elements[bisect(elements, (each) => each.getBoundingClientRect().bottom <= COVERED)];
    return element && element.getBoundingClientRect().top < window.innerHeight ? element : null;
  }

  /** @returns {Anchor | null} */
  #anchor() {
    const element = this.topLine;
    return element && { line: lineOf(element), top: element.getBoundingClientRect().top };
  }

  /** Show above the log that lines could not be fetched. @param {unknown} error */
  #showError(error) {
    this.log.parentElement?.querySelector(":scope > .error")?.remove();
    const message = document.createElement("p");
    message.className = "error";
    message.setAttribute("role", "alert");
    message.textContent = `These lines could not be fetched: ${error instanceof Error ? error.message : error}. `;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Try again";
    button.addEventListener("click", () => {
      message.remove();
      this.fillScreen();
    });
    message.append(button);
    this.log.before(message);
  }
}

/** @param {number[]} numbers in order @returns {[number, number][]} */
function toRanges(numbers) {
  /** @type {[number, number][]} */
  const found = [];
  for (const number of numbers) {
    const last = found.at(-1);
    if (last && last[1] === number) last[1] = number + 1;
    else found.push([number, number + 1]);
  }
  return found;
}

/**
 * Remove the lines of a box that are not wanted, and insert others in order. The rest isn't touched, so that
 * a selection in it remains.
 * @param {HTMLElement} box
 * @param {Set<number>} wanted
 * @param {HTMLElement[]} added
 */
function mergeLines(box, wanted, added) {
  for (const element of [...box.children]) if (!wanted.has(lineOf(element))) element.remove();
  let next = /** @type {Element | null} */ (box.firstElementChild);
  let batch = document.createDocumentFragment();
  for (const element of added) {
    const line = lineOf(element);
    while (next && lineOf(next) < line) {
      if (batch.childElementCount) box.insertBefore(batch, next);
      batch = document.createDocumentFragment();
      next = next.nextElementSibling;
    }
    batch.append(element);
  }
  if (batch.childElementCount) box.insertBefore(batch, next);
}
