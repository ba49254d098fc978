/** Finding in all logs of a run: the server searches, the page steps through what it found and marks it. */

import { lineOf, rangeIn } from "./lines.js";

const LIMIT = 1000;
const PAUSE = 200;

/** @typedef {{ vertex: number, line: number, spans: [number, number][] }} Match */

export class Search {
  /** @type {Match[]} those that are known, in order */
  #matches = [];
  /** @type {Map<string, Match>} */
  #byLine = new Map();
  #total = 0;
  #capped = false;
  /** @type {string | null} where the server goes on */
  #next = null;
  #at = -1;
  #query = "";
  #asked = 0;
  #timer = 0;
  /** @type {AbortController | null} */
  #asking = null;

  /**
   * @param {HTMLFormElement} form
   * @param {string} run
   * @param {object} page
   * @param {(match: Match) => Promise<void>} page.show
   * @param {() => { row: number, line: number }} page.place where the reader is
   * @param {() => import("./logview.js").LogView[]} page.views those that are open
   */
  constructor(form, run, page) {
    this.form = form;
    this.run = run;
    this.page = page;
    const part = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));
    this.input = /** @type {HTMLInputElement} */ (part("find-text"));
    this.output = /** @type {HTMLElement} */ (part("find-count"));
    this.buttons = /** @type {HTMLElement} */ (part("find-steps"));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.step(1);
    });
    form.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = window.setTimeout(() => this.#search(), PAUSE);
    });
    this.input.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && event.shiftKey) {
        event.preventDefault();
        this.step(-1);
      }
      if (event.key === "Escape") this.close();
    });
    part("find-next").addEventListener("click", () => this.step(1));
    part("find-previous").addEventListener("click", () => this.step(-1));
  }

  open() {
    this.form.classList.add("open");
    this.input.focus();
    this.input.select();
  }

  close() {
    this.input.value = "";
    this.form.classList.remove("open");
    this.input.blur();
    this.#search();
  }

  /** Go to the next match or the one before. @param {1 | -1} way */
  async step(way) {
    if (this.#wanted() !== this.#query) await this.#search();
    if (!this.#matches.length) return;
    let at = this.#at + way;
    if (this.#at < 0) at = way > 0 ? this.#nearest() : this.#matches.length - 1;
    if (at >= this.#matches.length && this.#next) await this.#more();
    if (at < 0 && this.#next) at = 0;
    this.#at = (at + this.#matches.length) % this.#matches.length;
    this.#say();
    await this.page.show(this.#matches[this.#at]);
    this.mark();
  }

  /** Mark what is found in the lines that are there. */
  mark() {
    if (!("highlights" in CSS)) return;
    CSS.highlights.clear();
    if (!this.#query) return;
    const found = new Highlight();
    const current = new Highlight();
    current.priority = 1;
    const at = this.#matches[this.#at];
    for (const view of this.page.views()) {
      for (const element of view.lines.children) {
        const line = lineOf(element);
        for (const [from, to] of this.#spans(element, view.row, line)) {
          const range = rangeIn(element, from, to);
          if (range) (at && at.vertex === view.row && at.line === line ? current : found).add(range);
        }
      }
    }
    CSS.highlights.set("found", found);
    CSS.highlights.set("found-current", current);
  }

  /** @param {Element} element @param {number} row @param {number} line @returns {[number, number][]} */
  #spans(element, row, line) {
    const known = this.#byLine.get(`${row} ${line}`);
    if (known || this.#option("regex") || !this.#next) return known?.spans ?? [];
    // Not told yet, for there are too many: what is searched for as it is, is found here as well.
    const folded = (/** @type {string} */ text) => (this.#option("case") ? text : text.toLowerCase());
    const wanted = folded(this.input.value);
    const text = folded(element.querySelector(".text")?.textContent ?? "");
    /** @type {[number, number][]} */
    const spans = [];
    for (let at = text.indexOf(wanted); wanted && at >= 0 && spans.length < 50; at = text.indexOf(wanted, at + wanted.length)) {
      spans.push([at, at + wanted.length]);
    }
    return spans;
  }

  /** @param {"case" | "regex"} name */
  #option(name) {
    return /** @type {HTMLInputElement} */ (document.getElementById(`find-${name}`)).checked;
  }

  #wanted() {
    if (!this.input.value) return "";
    const query = new URLSearchParams({ q: this.input.value, limit: String(LIMIT) });
    for (const name of /** @type {const} */ (["case", "regex"])) if (this.#option(name)) query.set(name, "yes");
    return query.toString();
  }

  async #search() {
    clearTimeout(this.#timer);
    this.#query = this.#wanted();
    this.#matches = [];
    this.#byLine.clear();
    this.#next = null;
    this.#total = 0;
    this.#at = -1;
    this.#asking?.abort();
    if (this.#query) await this.#more();
    else this.#say();
    this.mark();
  }

  /** Ask for the first matches, or for more of them. */
  async #more() {
    const asked = (this.#asked += 1);
    this.#asking = new AbortController();
    const after = this.#next ? `&after=${this.#next}` : "";
    this.output.textContent = "…";
    try {
      const answer = await fetch(`/runs/${encodeURIComponent(this.run)}/search?${this.#query}${after}`, {
        headers: { accept: "application/json" },
        signal: this.#asking.signal,
      });
      const found = await answer.json();
      if (asked !== this.#asked) return;
      if (!answer.ok) {
        this.#say(found.error);
        return;
      }
      for (const match of found.matches) {
        this.#matches.push(match);
        this.#byLine.set(`${match.vertex} ${match.line}`, match);
      }
      if (found.total !== null) {
        this.#total = found.total;
        this.#capped = !found.complete;
      }
      this.#next = found.next;
      this.#say();
    } catch (error) {
      if (asked === this.#asked && !(error instanceof DOMException)) this.#say("the server can't be reached");
    }
  }

  /** The first match from where the reader is. */
  #nearest() {
    const { row, line } = this.page.place();
    const rows = this.page.views().length ? [...new Set(this.#matches.map((match) => match.vertex))] : [];
    const turn = rows.indexOf(row);
    const found = this.#matches.findIndex((match) => {
      const its = rows.indexOf(match.vertex);
      return turn >= 0 ? its > turn || (its === turn && match.line >= line) : match.vertex > row;
    });
    return Math.max(found, 0);
  }

  /** @param {string} [wrong] */
  #say(wrong) {
    const total = `${this.#total.toLocaleString("en")}${this.#capped ? "+" : ""}`;
    this.buttons.hidden = !this.#matches.length;
    this.form.classList.toggle("wrong", Boolean(wrong));
    if (wrong) this.output.textContent = wrong;
    else if (!this.#query) this.output.textContent = "";
    else if (!this.#total) this.output.textContent = "none";
    else this.output.textContent = this.#at < 0 ? `${total} line${this.#total === 1 ? "" : "s"}` : `${(this.#at + 1).toLocaleString("en")} of ${total}`;
  }
}
