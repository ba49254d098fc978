/** Navigation in a run's logs: anchors, selected lines, steps and errors. */

import { LogOutline } from "./log_outline.js";
import { formatAnchor, lineOf, parseAnchor } from "./log_lines.js";
import { preference } from "./preferences.js";

/** The maximum number of lines that are copied. */
const MAX_COPIED = 10_000;

/** @typedef {import("./steps.js").Step} Step */

export class Reader {
  /** @type {Map<number, LogOutline>} */
  #outlines = new Map();

  /**
   * @param {import("./steps.js").StepList} steps
   * @param {import("./line_decorations.js").LineDecorations} decorations
   * @param {import("./auto_scroll.js").AutoScroll} autoScroll
   * @param {object} page
   * @param {(shown: boolean) => void} page.showInternal
   * @param {(text: string) => void} page.notify
   */
  constructor(steps, decorations, autoScroll, page) {
    this.steps = steps;
    this.decorations = decorations;
    this.autoScroll = autoScroll;
    this.page = page;
    window.addEventListener("hashchange", () => this.goToAnchor());
    steps.box.addEventListener("click", (event) => this.#onClick(event));
  }

  /** @param {Step} step */
  outline(step) {
    const outline = this.#outlines.get(step.row) ?? new LogOutline(step.view);
    this.#outlines.set(step.row, outline);
    return outline;
  }

  /** The line at the middle of the screen, of the step that is being read. */
  get line() {
    const step = this.steps.current;
    if (!step?.open) return 0;
    const middle = window.innerHeight / 2;
    const element = [...step.view.lines.children].find((each) => each.getBoundingClientRect().bottom >= middle);
    return element ? lineOf(element) : 0;
  }

  /** Go to the target of the address. @returns {boolean} whether it has one */
  goToAnchor() {
    const anchor = parseAnchor(location.hash);
    const step = anchor && this.steps.get(anchor.row);
    this.decorations.selection = null;
    if (!anchor || !step) return false;
    this.autoScroll.stop();
    if (step.internal) this.page.showInternal(true);
    if (anchor.from === undefined || anchor.to === undefined) {
      step.reveal();
    } else {
      this.decorations.selection = { row: anchor.row, from: anchor.from, to: anchor.to, anchor: anchor.from };
      step.open = true;
      step.view.keepVisible.push(anchor.from, anchor.to);
      step.view.showLine(anchor.from);
    }
    this.#decorate();
    return true;
  }

  /** Go to the lines that made the run fail, and select them. */
  async goToFailure() {
    const { failing } = this.decorations;
    const step = failing && this.steps.get(failing.row);
    if (!failing || !step) {
      this.page.notify("No step has failed");
      return;
    }
    this.decorations.selection = failing;
    history.replaceState(null, "", formatAnchor(failing.row, failing.from, failing.to));
    await this.goToLine(failing.row, failing.from);
    this.#decorate();
  }

  /** Go to a line with a match. @param {number} row @param {number} line */
  async goToLine(row, line) {
    const step = this.steps.get(row);
    if (!step) return;
    this.autoScroll.stop();
    if (step.internal && preference("internal") === "hidden") this.page.showInternal(true);
    step.open = true;
    await step.view.showLine(line);
  }

  /** Go to the beginning or the end of the current log. @param {"start" | "end"} end */
  goToEnd(end) {
    const step = this.steps.current;
    if (!step?.open) return;
    this.autoScroll.stop();
    if (end === "start") step.view.showLine(0);
    else step.view.showLine(step.lines - 1, "end");
  }

  /** Go to the next or previous step. @param {1 | -1} direction */
  goToStep(direction) {
    const { visible, current } = this.steps;
    const index = visible.indexOf(current) + direction;
    const step = visible[Math.max(0, Math.min(index, visible.length - 1))];
    this.autoScroll.stop();
    step?.summary.focus({ preventScroll: true });
    step?.element.scrollIntoView({ block: "start" });
  }

  /** Go to the next or previous error, and select it. @param {1 | -1} direction */
  async goToError(direction) {
    const { visible, current } = this.steps;
    const { selection } = this.decorations;
    this.autoScroll.stop();
    const line = selection && selection.row === current?.row ? selection.from : this.line;
    const index = visible.indexOf(current);
    const steps = direction > 0 ? visible.slice(index) : visible.slice(0, index + 1).reverse();
    for (const step of steps.filter((each) => each.lines)) {
      const outline = this.outline(step);
      await outline.update(true);
      const error = outline.errorFrom(step === current ? line : direction > 0 ? -1 : Infinity, direction);
      if (error === undefined) continue;
      step.open = true;
      this.decorations.selection = { row: step.row, from: error, to: error, anchor: error };
      history.replaceState(null, "", formatAnchor(step.row, error));
      await step.view.showLine(error);
      this.#decorate();
      return;
    }
    this.page.notify(direction > 0 ? "No more errors" : "No earlier errors");
  }

  /** Copy the selected lines as text. */
  async copySelection() {
    const { selection } = this.decorations;
    const step = selection && this.steps.get(selection.row);
    if (!selection || !step) return;
    const html = await step.view.cache.lines(selection.from, Math.min(selection.to + 1, selection.from + MAX_COPIED));
    const template = document.createElement("template");
    const texts = html.map((line) => {
      template.innerHTML = line;
      return template.content.textContent;
    });
    await navigator.clipboard.writeText(`${texts.join("\n")}\n`);
    this.page.notify(`Copied ${texts.length} line${texts.length === 1 ? "" : "s"}`);
  }

  /** Select a line whose number was clicked. @param {MouseEvent} event */
  #onClick(event) {
    const number = /** @type {Element} */ (event.target).closest(".ln");
    if (!number || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const line = /** @type {HTMLElement} */ (number.parentElement);
    if (line.parentElement?.className === "screen") return;
    const row = Number(/** @type {HTMLElement} */ (line.closest(".step")).dataset.row);
    history.replaceState(null, "", this.decorations.select(row, lineOf(line), event.shiftKey));
    this.autoScroll.stop();
    this.#decorate();
  }

  #decorate() {
    for (const step of this.steps.open) this.decorations.apply(step.view, step.view.lines.children);
  }
}
