/** The vertexes of a run on its page: their summaries, their order, and a view of each one's log. */

import { duration, now } from "./clock.js";
import { lineElement } from "./lines.js";
import { LogView } from "./logview.js";

const WORDS = { ok: "succeeded", bad: "failed", warn: "cancelled", runs: "running", cached: "from cache", waits: "not started" };

export class Step {
  /** @type {LogView | null} */
  #view = null;

  /**
   * @param {HTMLDetailsElement} element
   * @param {Steps} all
   */
  constructor(element, all) {
    this.element = element;
    this.all = all;
    this.row = Number(element.dataset.row);
    this.summary = /** @type {HTMLElement} */ (element.querySelector("summary"));
    this.log = /** @type {HTMLElement} */ (element.querySelector(".log"));
    element.addEventListener("toggle", () => all.toggled(this));
  }

  /** Its log's view, made when it is first wanted. */
  get view() {
    this.#view ??= new LogView(this.log, this.row, this.address, this.all.looks);
    return this.#view;
  }

  get hasView() {
    return this.#view !== null;
  }

  get address() {
    return `/runs/${encodeURIComponent(this.all.run)}/vertexes/${this.row}`;
  }

  get name() {
    return this.summary.querySelector("code")?.textContent ?? "";
  }

  get state() {
    return /** @type {keyof WORDS} */ (this.element.classList[1]);
  }

  get internal() {
    return this.element.classList.contains("internal");
  }

  get shown() {
    return this.element.offsetParent !== null;
  }

  /** Seconds since the epoch; NaN if it has not begun. */
  get began() {
    return Number(this.element.dataset.began || NaN);
  }

  /** Seconds since the epoch; NaN while it goes on. */
  get ended() {
    return Number(this.element.dataset.ended || NaN);
  }

  /** The rows of what it stands on. @returns {number[]} */
  get inputs() {
    return (this.element.dataset.inputs ?? "").split(" ").filter(Boolean).map(Number);
  }

  /** Lines that are known to be there. */
  get lines() {
    return this.#view ? this.#view.total : Number(this.log.dataset.total);
  }

  set open(/** @type {boolean} */ open) {
    this.element.open = open;
  }

  get open() {
    return this.element.open;
  }

  /** Open it, and put its head at the top of the screen. */
  reveal() {
    this.open = true;
    this.element.scrollIntoView({ block: "start" });
  }

  /** @param {any} news a vertex, as the server tells it */
  update(news) {
    this.element.className = `vertex ${news.state}${news.hidden ? " internal" : ""}`;
    const put = (/** @type {string} */ name, /** @type {string} */ text) => {
      const part = this.summary.querySelector(name);
      if (part && part.textContent !== text) part.textContent = text;
    };
    put(".sign", news.sign);
    put("code", news.name);
    put(".unseen", WORDS[/** @type {keyof WORDS} */ (news.state)]);
    put(".note", news.note);
    this.log.setAttribute("aria-label", `Log of ${news.name}`);
    this.element.dataset.digest = news.digest;
    this.element.dataset.began = String(seconds(news.started_at));
    this.element.dataset.ended = String(seconds(news.completed_at));
    this.tick();
  }

  /** @param {any} news some of its log, as the server tells it @param {boolean} follow */
  async grow(news, follow) {
    const screen = news.screen.map((/** @type {string} */ html, /** @type {number} */ index) => lineElement(this.row, news.total + index, html));
    if (this.hasView || this.open) {
      this.view.showScreen(screen);
      await this.view.grow(news.start, news.lines, news.total, follow);
    } else {
      this.log.dataset.total = String(news.total);
    }
  }

  /** Say how long it took, or has taken by now. */
  tick() {
    if (Number.isNaN(this.began) || this.state === "cached") return;
    const took = duration((Number.isNaN(this.ended) ? now() : this.ended) - this.began);
    const part = this.summary.querySelector(".took");
    if (part && part.textContent !== took) part.textContent = took;
  }
}

export class Steps {
  /** @type {Map<number, Step>} */
  #steps = new Map();

  /**
   * @param {HTMLElement} box
   * @param {string} run
   * @param {import("./logview.js").Looks} looks
   * @param {(step: Step) => void} toggled called when a step was opened or closed
   */
  constructor(box, run, looks, toggled) {
    this.box = box;
    this.run = run;
    this.looks = looks;
    this.toggled = toggled;
    for (const element of box.children) this.#add(/** @type {HTMLDetailsElement} */ (element));
  }

  /** @returns {Step[]} */
  get all() {
    return [...this.#steps.values()];
  }

  /** Those that can be seen: internal ones only if they are shown. */
  get shown() {
    return this.all.filter((step) => step.shown);
  }

  /** @param {number} row */
  get(row) {
    return this.#steps.get(row);
  }

  /** The step that has the focus, or is being read: the last one that begins above the middle of the screen. */
  get current() {
    const { shown } = this;
    const focused = document.activeElement?.closest("summary")?.parentElement;
    const its = shown.find((step) => step.element === focused);
    if (its) return its;
    const reading = shown.filter((step) => step.element.getBoundingClientRect().top < window.innerHeight / 2);
    return reading.at(-1) ?? shown[0];
  }

  /** @param {any} news a vertex, as the server tells it */
  update(news) {
    let step = this.#steps.get(news.row);
    if (!step) {
      const made = this.#made(news.row);
      this.box.append(made);
      step = this.#add(made);
    }
    const was = step.state;
    step.update(news);
    const inputs = this.all.filter((other) => other !== step && news.inputs.includes(other.element.dataset.digest));
    step.element.dataset.inputs = inputs.map((other) => other.row).join(" ");
    this.#sayAfter(step, inputs.filter((other) => !other.internal));
    if (news.state !== was && news.open && !step.internal) step.open = true;
  }

  /** @param {HTMLDetailsElement} element */
  #add(element) {
    const step = new Step(element, this);
    this.#steps.set(step.row, step);
    return step;
  }

  /** @param {Step} step @param {Step[]} inputs */
  #sayAfter(step, inputs) {
    const box = step.element.querySelector(".after");
    if (!box) return;
    box.replaceChildren();
    inputs.slice(0, 8).forEach((other, index) => {
      const link = document.createElement("a");
      link.href = `#v${other.row}`;
      link.append(Object.assign(document.createElement("code"), { textContent: other.name }));
      box.append(index ? ", " : "after ", link);
    });
    if (inputs.length > 8) box.append(` and ${inputs.length - 8} more`);
  }

  /** @param {number} row @returns {HTMLDetailsElement} */
  #made(row) {
    const element = document.createElement("details");
    element.id = `v${row}`;
    element.className = "vertex waits";
    element.dataset.row = String(row);
    const address = `/runs/${encodeURIComponent(this.run)}/vertexes/${row}`;
    element.innerHTML =
      '<summary><span class="sign" aria-hidden="true"></span><code></code><span class="unseen"></span><span class="note"></span><span class="took"></span></summary>' +
      `<div class="about"><span class="after"></span><span class="links"><a href="${address}">page</a> <a href="${address}/raw">raw</a> <a href="${address}/text">plain</a></span></div>` +
      '<div class="log" role="group" tabindex="0" data-start="0" data-total="0"><div class="above"></div><div class="lines"></div><div class="below"></div><div class="screen"></div></div>';
    return element;
  }
}

/** @param {string | null} instant @returns {number | ""} */
function seconds(instant) {
  return instant ? Date.parse(instant) / 1000 : "";
}
