/** Search in all logs of a run: the server finds the lines, the page steps through them and highlights them. */

import { lineOf, rangeIn } from "./log_lines.js";

/** The number of matches in one request. */
const PAGE_SIZE = 1000;

/** Milliseconds after the last key before the search begins. */
const DEBOUNCE = 200;

const MAX_HIGHLIGHTS = 50;

/** @typedef {{ vertex: number, line: number, spans: [number, number][] }} Match */

export class LogSearch {
  /** @type {Match[]} those fetched so far, in order */
  #matches = [];
  /** @type {Map<string, Match>} by row and line */
  #byLine = new Map();
  #total = 0;
  /** The server's progress: lines searched, and all lines. @type {{ searched: number, lines: number } | null} */
  #progress = null;
  /** @type {string | null} where the server continues */
  #next = null;
  #index = -1;
  #query = "";
  #requests = 0;
  #timer = 0;
  /** @type {AbortController | null} */
  #request = null;

  /**
   * @param {HTMLFormElement} form
   * @param {string} run
   * @param {object} page
   * @param {(match: Match) => Promise<void>} page.show
   * @param {() => { row: number, line: number }} page.position returns where the reader is
   * @param {() => import("./log_view.js").LogView[]} page.views returns the logs that are open
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
      this.#timer = window.setTimeout(() => this.#search(), DEBOUNCE);
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

  /** Go to the next or previous match. @param {1 | -1} direction */
  async step(direction) {
    if (this.#currentQuery() !== this.#query) await this.#search();
    if (!this.#matches.length) return;
    let index = this.#index + direction;
    if (this.#index < 0) index = direction > 0 ? this.#firstFromReader() : this.#matches.length - 1;
    if (index >= this.#matches.length && this.#next) await this.#fetchMore();
    if (index < 0 && this.#next) index = 0;
    this.#index = (index + this.#matches.length) % this.#matches.length;
    this.#updateCount();
    await this.page.show(this.#matches[this.#index]);
    this.highlight();
  }

  /** Highlight the matches in the lines that are in the document. */
  highlight() {
    if (!("highlights" in CSS)) return;
    CSS.highlights.clear();
    if (!this.#query) return;
    const found = new Highlight();
    const current = new Highlight();
    current.priority = 1;
    const match = this.#matches[this.#index];
    for (const view of this.page.views()) {
      for (const element of view.lines.children) {
        const line = lineOf(element);
        for (const [from, to] of this.#spans(element, view.row, line)) {
          const range = rangeIn(element, from, to);
          if (range) (match && match.vertex === view.row && match.line === line ? current : found).add(range);
        }
      }
    }
    CSS.highlights.set("found", found);
    CSS.highlights.set("found-current", current);
  }

  /** @param {Element} element @param {number} row @param {number} line @returns {[number, number][]} */
  #spans(element, row, line) {
    const match = this.#byLine.get(`${row} ${line}`);
    if (match || this.#option("regex") || !this.#next) return match?.spans ?? [];
    // The server has more matches than were fetched: plain text is searched here as well.
    const fold = (/** @type {string} */ text) => (this.#option("case") ? text : text.toLowerCase());
    const needle = fold(this.input.value);
    const text = fold(element.querySelector(".text")?.textContent ?? "");
    /** @type {[number, number][]} */
    const spans = [];
    for (let at = text.indexOf(needle); needle && at >= 0 && spans.length < MAX_HIGHLIGHTS; at = text.indexOf(needle, at + needle.length)) {
      spans.push([at, at + needle.length]);
    }
    return spans;
  }

  /** @param {"case" | "regex"} name */
  #option(name) {
    return /** @type {HTMLInputElement} */ (document.getElementById(`find-${name}`)).checked;
  }

  #currentQuery() {
    if (!this.input.value) return "";
    const query = new URLSearchParams({ q: this.input.value, limit: String(PAGE_SIZE) });
    for (const name of /** @type {const} */ (["case", "regex"])) if (this.#option(name)) query.set(name, "yes");
    return query.toString();
  }

  async #search() {
    clearTimeout(this.#timer);
    this.#query = this.#currentQuery();
    this.#matches = [];
    this.#byLine.clear();
    this.#next = null;
    this.#total = 0;
    this.#progress = null;
    this.#index = -1;
    this.#request?.abort();
    if (this.#query) await this.#fetchMore();
    else this.#updateCount();
    this.highlight();
  }

  /** Fetch the first matches, or further ones: the server answers after a few seconds at the latest, and is asked
   * again until it has found something. Then the search continues by itself, until the first page is full. */
  async #fetchMore() {
    const number = (this.#requests += 1);
    const known = this.#matches.length;
    this.#request = new AbortController();
    this.output.textContent = "…";
    this.output.title = "";
    const { signal } = this.#request;
    const fetchPages = async (/** @type {() => boolean} */ condition) => {
      try {
        do {
          if (!(await this.#fetchPage(number, signal))) return;
          this.#updateCount();
          this.highlight();
        } while (this.#next && condition());
      } catch (error) {
        if (number === this.#requests && !(error instanceof DOMException)) this.#updateCount("the server can't be reached");
      }
    };
    const unfinished = () => this.#progress !== null && this.#matches.length < PAGE_SIZE;
    await fetchPages(() => this.#matches.length === known);
    if (number === this.#requests && this.#next && unfinished()) fetchPages(unfinished);
  }

  /** @param {number} number the request's @param {AbortSignal} signal @returns {Promise<boolean>} whether it worked, and is still wanted */
  async #fetchPage(number, signal) {
    const after = this.#next ? `&after=${this.#next}` : "";
    const response = await fetch(`/runs/${encodeURIComponent(this.run)}/search?${this.#query}${after}`, {
      headers: { accept: "application/json" },
      signal,
    });
    const answer = await response.json();
    if (number !== this.#requests) return false;
    if (!response.ok) {
      this.#updateCount(answer.error);
      return false;
    }
    for (const match of answer.matches) {
      this.#matches.push(match);
      this.#byLine.set(`${match.vertex} ${match.line}`, match);
    }
    this.#total = Math.max(this.#total, answer.total ?? 0, this.#matches.length);
    // A count of everything stays right while further matches are fetched.
    if (answer.total !== null || this.#progress) this.#progress = answer.complete ? null : { searched: answer.searched, lines: answer.lines };
    this.#next = answer.next;
    return true;
  }

  /** Return the index of the first match from where the reader is. */
  #firstFromReader() {
    const { row, line } = this.page.position();
    const rows = this.page.views().length ? [...new Set(this.#matches.map((match) => match.vertex))] : [];
    const order = rows.indexOf(row);
    const index = this.#matches.findIndex((match) => {
      if (order < 0) return match.vertex > row;
      const other = rows.indexOf(match.vertex);
      return other > order || (other === order && match.line >= line);
    });
    return Math.max(index, 0);
  }

  /** @param {string} [error] */
  #updateCount(error) {
    const total = `${this.#total.toLocaleString("en")}${this.#progress ? "+" : ""}`;
    const progress = this.#progress ? ` in ${this.#progress.searched.toLocaleString("en")} of ${this.#progress.lines.toLocaleString("en")} lines` : "";
    this.buttons.hidden = !this.#matches.length;
    this.form.classList.toggle("error", Boolean(error));
    this.output.title = progress && `Searched${progress.slice(3)}; going on when more matches are needed`;
    if (error) this.output.textContent = error;
    else if (!this.#query) this.output.textContent = "";
    else if (!this.#total) this.output.textContent = progress ? `none${progress} …` : "none";
    else this.output.textContent = this.#index < 0 ? `${total} line${this.#total === 1 ? "" : "s"}` : `${(this.#index + 1).toLocaleString("en")} of ${total}`;
  }
}
