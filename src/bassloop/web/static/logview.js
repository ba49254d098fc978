/**
 * A log of any length in the page's own scrolling.
 *
 * Only a window of its lines is in the document, in normal flow, so that they may wrap and be selected as
 * text. Above and below it are two empty boxes for the rest: a line's height for each line, or less where
 * that would make the page longer than browsers can (Chromium: 33,554,428 px). While somebody reads on,
 * the window moves with them and the box above takes up what it must so that nothing jumps; when they
 * rest, it is made as high again as its share is. Places of the window are those of lines as shown, with
 * folded ones left out.
 */

import { Folds } from "./folds.js";
import { htmlOf, lineElement, lineOf } from "./lines.js";
import { bring, scrollDown } from "./scrolling.js";
import { LogSource } from "./source.js";

/** Lines that are added at a time, and that are in the document at most. */
const STEP = 200;
const MOST = 900;

/** Pixels beyond the screen that are to be filled with lines. */
const REACH = 1500;

/** Pixels of both boxes at most: a dozen logs of this height fit into a page. */
const TALLEST = 2_000_000;

/**
 * @typedef {object} Looks what else a line is shown with
 * @property {(view: LogView, elements: HTMLElement[]) => void} added called with lines that came into the window
 * @property {() => void} moved called when the window has changed
 */

export class LogView {
  folds = new Folds();
  /** Places in the window: from `first`, before `last`. */
  first = 0;
  last = 0;
  /** Lines that are not to be folded away at first. @type {number[]} */
  wanted = [];
  #above = 0;
  #lineHeight = 20;
  /** What is done to the window is done one after the other. */
  #turn = Promise.resolve();
  #waiting = 0;

  /**
   * @param {HTMLElement} log with the boxes `above`, `lines`, `below` and `screen` in it
   * @param {number} row the vertex's
   * @param {string} address the vertex's
   * @param {Looks} looks
   */
  constructor(log, row, address, looks) {
    this.log = log;
    this.row = row;
    this.looks = looks;
    this.source = new LogSource(address);
    this.total = Number(log.dataset.total);
    const box = (/** @type {string} */ name) => /** @type {HTMLElement} */ (log.querySelector(`:scope > .${name}`));
    this.aboveBox = box("above");
    this.lines = box("lines");
    this.belowBox = box("below");
    this.screen = box("screen");
    const start = Number(log.dataset.start);
    const shown = /** @type {HTMLElement[]} */ ([...this.lines.children]);
    this.first = start;
    this.last = start + shown.length;
    this.source.put(start, shown.map(htmlOf));
    if (shown.length) {
      looks.added(this, shown);
      const top = shown[0].getBoundingClientRect().top;
      this.#fit({ element: shown[0], top }, true);
    }
  }

  /** Lines as shown: all but those that are folded away. */
  get places() {
    return this.total - this.folds.hidden;
  }

  get isOpen() {
    return this.log.offsetParent !== null;
  }

  /** Whether the window reaches to the log's end. */
  get atEnd() {
    return this.last >= this.places;
  }

  /** Pixels for each line that is not there. */
  get scale() {
    return Math.min(this.#lineHeight, TALLEST / Math.max(this.places, 1));
  }

  /** The element of a line, if it is in the window. @param {number} line */
  element(line) {
    return document.getElementById(`v${this.row}-L${line + 1}`);
  }

  /** Put lines where somebody looks. To be called when the page was scrolled, and after all else. */
  look() {
    if (this.#waiting || !this.isOpen || !this.places) return;
    const box = this.lines.getBoundingClientRect();
    const height = window.innerHeight;
    if (this.last > this.first && box.bottom > 0 && box.top < height) {
      if (this.first > 0 && box.top > -REACH) this.#move(Math.max(0, this.first - STEP), Math.min(this.last, this.first - STEP + MOST));
      else if (!this.atEnd && box.bottom < height + REACH) {
        const last = Math.min(this.places, this.last + STEP);
        this.#move(Math.max(this.first, last - MOST), last);
      }
      return;
    }
    const log = this.log.getBoundingClientRect();
    if (log.bottom < -REACH || log.top > height + REACH) return;
    const y = (Math.max(log.top, 0) + Math.min(log.bottom, height)) / 2;
    if (this.first === this.last) this.#jump(Math.floor((y - log.top) / this.scale), y);
    else if (y < box.top) this.#jump(Math.floor(((y - log.top) / Math.max(this.#above, 1)) * this.first), y);
    else {
      const share = (y - box.bottom) / Math.max(this.belowBox.offsetHeight, 1);
      this.#jump(this.last + Math.floor(share * (this.places - this.last)), y);
    }
  }

  /**
   * Show a line, in the middle of the screen.
   * @param {number} line
   * @param {ScrollLogicalPosition} [block]
   */
  async show(line, block = "center") {
    await this.#inTurn(async () => {
      this.folds.reveal(line);
      const place = this.folds.placeOf(Math.max(0, Math.min(line, this.total - 1)));
      if (!this.element(line) || place < this.first || place >= this.last) {
        await this.#around(place, null);
        this.settle();
      }
      const element = this.element(this.folds.lineAt(place));
      if (element) bring(element, block);
    });
    this.look();
  }

  /** Take folds that have changed into account, keeping what is on the screen where it is. */
  async refold() {
    await this.#inTurn(async () => {
      const anchor = this.#anchor();
      const line = anchor ? lineOf(anchor.element) : this.folds.lineAt(this.first);
      this.folds.changed();
      const place = this.folds.placeOf(line);
      await this.#around(place, anchor && { line: this.folds.lineAt(place), top: anchor.top });
      this.looks.added(this, /** @type {HTMLElement[]} */ ([...this.lines.children]));
      this.settle();
    });
    this.look();
  }

  /**
   * The log has grown.
   * @param {number} start
   * @param {string[]} lines from line `start` on
   * @param {number} total
   * @param {boolean} follow whether its end is to be in the window in any case
   */
  async grow(start, lines, total, follow) {
    const before = this.total;
    this.source.put(start, lines);
    this.total = Math.max(this.total, total);
    this.log.dataset.total = String(this.total);
    if (!this.isOpen) return;
    await this.#inTurn(async () => {
      const { places, last } = this;
      const room = follow ? MOST : MOST - (last - this.first);
      const near = last + this.folds.hidden >= before && start <= before;
      if (near && places - last <= room) {
        await this.#render(follow ? Math.max(this.first, places - STEP) : this.first, places, this.#kept());
      } else if (follow) {
        await this.#render(Math.max(0, places - STEP), places, null);
      }
      this.#fit(null, false);
    });
  }

  /** @param {HTMLElement[]} lines those that a terminal may still change */
  showScreen(lines) {
    this.screen.replaceChildren(...lines);
  }

  /** Give both boxes their share. To be called when nobody scrolls. */
  settle() {
    const anchor = this.#anchor();
    if (anchor) this.#fit(anchor, true);
  }

  /** @param {number} first @param {number} last */
  async #move(first, last) {
    const before = [this.first, this.last];
    await this.#inTurn(() => this.#render(first, last, this.#kept()));
    if (before[0] !== this.first || before[1] !== this.last) this.look();
  }

  /** @param {number} place @param {number} y where on the screen it is to be */
  async #jump(place, y) {
    const wanted = Math.max(0, Math.min(place, this.places - 1));
    await this.#inTurn(() => this.#around(wanted, { line: this.folds.lineAt(wanted), top: y }));
  }

  /** Do something when what was begun before is done. @param {() => Promise<void>} work */
  async #inTurn(work) {
    this.#waiting += 1;
    const mine = this.#turn.then(work);
    this.#turn = mine.catch(() => {});
    try {
      await mine;
    } finally {
      this.#waiting -= 1;
    }
  }

  /** Make the window that around a place. @param {number} place @param {{ line: number, top: number } | null} anchor */
  async #around(place, anchor) {
    const first = Math.max(0, Math.min(place - STEP / 2, this.places - STEP));
    await this.#render(first, Math.min(this.places, first + STEP), anchor);
  }

  /** What is on the screen now and is to stay there. */
  #kept() {
    const anchor = this.#anchor();
    return anchor && { line: lineOf(anchor.element), top: anchor.top };
  }

  /**
   * Make the window that of these places.
   * @param {number} first
   * @param {number} last
   * @param {{ line: number, top: number } | null} anchor a line, and where on the screen it is to be
   */
  async #render(first, last, anchor) {
    const wanted = this.folds.ranges(first, last).flatMap(([from, to]) => Array.from({ length: to - from }, (_, index) => from + index));
    const there = new Set([...this.lines.children].map(lineOf));
    const missing = ranges(wanted.filter((line) => !there.has(line)));
    /** @type {string[][]} */
    let html;
    try {
      html = await Promise.all(missing.map(([from, to]) => this.source.lines(from, to)));
    } catch (error) {
      this.#failed(error);
      return;
    }
    if (anchor && this.element(anchor.line)) anchor.top = this.#now(anchor);
    /** @type {HTMLElement[]} */
    const added = [];
    missing.forEach(([from], index) => html[index].forEach((text, at) => added.push(lineElement(this.row, from + at, text))));
    merge(this.lines, new Set(wanted), added);
    this.first = first;
    this.last = first + this.lines.childElementCount;
    this.looks.added(this, added);
    const element = anchor && this.element(anchor.line);
    this.#fit(anchor && element && { element, top: anchor.top }, false);
    this.looks.moved();
  }

  /** Where the anchor is by now, if it was there before: the reader may have scrolled since.
   * @param {{ line: number, top: number }} anchor */
  #now(anchor) {
    return this.element(anchor.line)?.getBoundingClientRect().top ?? anchor.top;
  }

  /**
   * Make the boxes as high as they must be for an element to be at a place on the screen; scroll where
   * that can't be.
   * @param {{ element: Element, top: number } | null} anchor
   * @param {boolean} share whether they get their share in any case
   */
  #fit(anchor, share) {
    const count = this.lines.childElementCount;
    if (count && this.lines.offsetHeight) this.#lineHeight = this.lines.offsetHeight / count;
    const scale = this.scale;
    let above = this.#above;
    if (anchor) above += anchor.top - anchor.element.getBoundingClientRect().top;
    if (share || this.first === 0 || above < 0 || !anchor) above = this.first * scale;
    this.#above = above;
    this.aboveBox.style.height = `${above}px`;
    this.belowBox.style.height = `${Math.max(0, this.places - this.last) * scale}px`;
    if (!anchor) return;
    const off = anchor.element.getBoundingClientRect().top - anchor.top;
    if (Math.abs(off) >= 1) scrollDown(off);
  }

  /** The first line that is on the screen. @returns {{ element: HTMLElement, top: number } | null} */
  #anchor() {
    const all = /** @type {HTMLCollectionOf<HTMLElement>} */ (this.lines.children);
    let low = 0;
    let high = all.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (all[middle].getBoundingClientRect().bottom <= 100) low = middle + 1;
      else high = middle;
    }
    const element = all[low];
    if (!element) return null;
    const { top } = element.getBoundingClientRect();
    return top < window.innerHeight ? { element, top } : null;
  }

  /** Say that lines could not be fetched, once. @param {unknown} error */
  #failed(error) {
    this.log.parentElement?.querySelector(":scope > .wrong")?.remove();
    const said = document.createElement("p");
    said.className = "wrong";
    said.setAttribute("role", "alert");
    said.textContent = `These lines could not be fetched: ${error instanceof Error ? error.message : error}. `;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Try again";
    button.addEventListener("click", () => {
      said.remove();
      this.look();
    });
    said.append(button);
    this.log.before(said);
  }
}

/** Numbers in order as ranges. @param {number[]} numbers @returns {[number, number][]} */
function ranges(numbers) {
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
 * Leave those of a box's lines that are wanted and put others between them, in order: what stays is not
 * touched, and neither is a selection in it.
 * @param {HTMLElement} box
 * @param {Set<number>} wanted
 * @param {HTMLElement[]} added
 */
function merge(box, wanted, added) {
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
