/** The steps of a run: their summaries, their order, and a view of each one's log. */

import { lineElement } from "./log_lines.js";
import { LogView } from "./log_view.js";
import { formatDuration, serverNow } from "./times.js";

const STATE_WORDS = { ok: "succeeded", bad: "failed", warn: "stopped", runs: "running", cached: "from cache", unused: "not used", waits: "not started" };

/** The maximum number of inputs that a step lists. */
const MAX_INPUTS = 8;

export class Step {
  /** @type {LogView | null} */
  #view = null;

  /**
   * @param {HTMLDetailsElement} element
   * @param {StepList} list
   */
  constructor(element, list) {
    this.element = element;
    this.list = list;
    this.row = Number(element.dataset.row);
    this.summary = /** @type {HTMLElement} */ (element.querySelector("summary"));
    this.log = /** @type {HTMLElement} */ (element.querySelector(".log"));
    element.addEventListener("toggle", () => list.onToggle(this));
  }

  /** The view of its log, made when it is first needed. */
  get view() {
    this.#view ??= new LogView(this.log, this.row, stepUrl(this.list.run, this.row), this.list.callbacks);
    return this.#view;
  }

  get name() {
    return this.summary.querySelector("code")?.textContent ?? "";
  }

  get state() {
    return /** @type {keyof STATE_WORDS} */ (this.element.classList[1]);
  }

  get internal() {
    return this.element.classList.contains("internal");
  }

  get visible() {
    return this.element.offsetParent !== null;
  }

  /** Seconds since the epoch; NaN if it has not started. */
  get startedAt() {
    return Number(this.element.dataset.started || NaN);
  }

  /** Seconds since the epoch; NaN until it has ended. */
  get endedAt() {
    return Number(this.element.dataset.ended || NaN);
  }

  /** The rows of the steps that it depends on. @returns {number[]} */
  get inputs() {
    return (this.element.dataset.inputs ?? "").split(" ").filter(Boolean).map(Number);
  }

  /** The number of known lines of its log. */
  get lines() {
    return this.#view ? this.#view.total : Number(this.log.dataset.total);
  }

  set open(/** @type {boolean} */ open) {
    this.element.open = open;
  }

  get open() {
    return this.element.open;
  }

  /** Open it, and scroll to it. */
  reveal() {
    this.open = true;
    this.element.scrollIntoView({ block: "start" });
  }

  /** @param {any} update the step in a message of the server */
  update(update) {
    this.element.className = `step ${update.state}${update.hidden ? " internal" : ""}`;
    this.#setText(".sign", update.sign);
    this.#setText("code", update.title);
    this.#setText(".visually-hidden", STATE_WORDS[/** @type {keyof STATE_WORDS} */ (update.state)]);
    this.#setText(".note", update.note);
    this.log.setAttribute("aria-label", `Log of ${update.title}`);
    this.element.dataset.digest = update.digest;
    this.element.dataset.started = toSeconds(update.started_at);
    this.element.dataset.ended = toSeconds(update.completed_at);
    this.updateDuration();
  }

  /** @param {any} update new lines of its log in a message of the server @param {boolean} showEnd */
  async appendLog(update, showEnd) {
    if (!this.#view && !this.open) {
      this.log.dataset.total = String(update.total);
      return;
    }
    this.view.showScreen(update.screen.map((/** @type {string} */ html, /** @type {number} */ index) => lineElement(this.row, update.total + index, html)));
    await this.view.append(update.start, update.lines, update.total, showEnd);
  }

  /** Show its duration so far. */
  updateDuration() {
    if (Number.isNaN(this.startedAt) || this.state === "cached") return;
    this.#setText(".duration", formatDuration((Number.isNaN(this.endedAt) ? serverNow() : this.endedAt) - this.startedAt));
  }

  /** @param {string} selector @param {string} text */
  #setText(selector, text) {
    const element = this.summary.querySelector(selector);
    if (element && element.textContent !== text) element.textContent = text;
  }
}

export class StepList {
  /** @type {Map<number, Step>} */
  #steps = new Map();

  /**
   * @param {HTMLElement} box
   * @param {string} run
   * @param {import("./log_view.js").Callbacks} callbacks
   * @param {(step: Step) => void} onToggle is called when a step was opened or closed
   */
  constructor(box, run, callbacks, onToggle) {
    this.box = box;
    this.run = run;
    this.callbacks = callbacks;
    this.onToggle = onToggle;
    for (const element of box.children) this.#add(/** @type {HTMLDetailsElement} */ (element));
  }

  /** @returns {Step[]} */
  get all() {
    return [...this.#steps.values()];
  }

  /** The steps that can be seen: internal ones only if they are shown. */
  get visible() {
    return this.all.filter((step) => step.visible);
  }

  /** The visible steps whose logs are open. */
  get open() {
    return this.visible.filter((step) => step.open);
  }

  /** @param {number} row */
  get(row) {
    return this.#steps.get(row);
  }

  /** The step that has the focus, or else the last one that begins above the middle of the screen. */
  get current() {
    const { visible } = this;
    const focused = document.activeElement?.closest("summary")?.parentElement;
    const step = visible.find((each) => each.element === focused);
    if (step) return step;
    return visible.findLast((each) => each.element.getBoundingClientRect().top < window.innerHeight / 2) ?? visible[0];
  }

  /** @param {any} update a step in a message of the server */
  update(update) {
    const step = this.#steps.get(update.row) ?? this.#create(update.row);
    const previousState = step.state;
    step.update(update);
    const inputs = this.all.filter((other) => other !== step && update.inputs.includes(other.element.dataset.digest));
    step.element.dataset.inputs = inputs.map((other) => other.row).join(" ");
    this.#showInputs(step, inputs.filter((other) => !other.internal));
    if (update.state !== previousState && update.open && !step.internal) step.open = true;
  }

  /** @param {HTMLDetailsElement} element */
  #add(element) {
    const step = new Step(element, this);
    this.#steps.set(step.row, step);
    return step;
  }

  /** @param {Step} step @param {Step[]} inputs */
  #showInputs(step, inputs) {
    const box = step.element.querySelector(".after");
    if (!box) return;
    box.replaceChildren();
    inputs.slice(0, MAX_INPUTS).forEach((other, index) => {
      const link = document.createElement("a");
      link.href = `#v${other.row}`;
      link.append(Object.assign(document.createElement("code"), { textContent: other.name }));
      box.append(index ? ", " : "after ", link);
    });
    if (inputs.length > MAX_INPUTS) box.append(` and ${inputs.length - MAX_INPUTS} more`);
  }

  /** Create a step as `run.html` does. @param {number} row */
  #create(row) {
    const element = document.createElement("details");
    element.id = `v${row}`;
    element.className = "step waits";
    element.dataset.row = String(row);
    const url = stepUrl(this.run, row);
    element.innerHTML =
      '<summary><span class="sign" aria-hidden="true"></span><code></code><span class="visually-hidden"></span><span class="note"></span><span class="duration"></span></summary>' +
      `<div class="about"><span class="after"></span><span class="links"><a href="${url}">page</a> <a href="${url}/raw">raw</a> <a href="${url}/text">text</a></span></div>` +
      '<div class="log" role="group" tabindex="0" data-start="0" data-total="0"><div class="lines"></div><div class="below"></div><div class="screen"></div></div>';
    this.box.append(element);
    return this.#add(element);
  }
}

/** @param {string} run @param {number} row */
function stepUrl(run, row) {
  return `/runs/${encodeURIComponent(run)}/vertexes/${row}`;
}

/** @param {string | null} instant in ISO 8601 @returns {string} seconds since the epoch, empty for none */
function toSeconds(instant) {
  return instant ? String(Date.parse(instant) / 1000) : "";
}
