/**
 * A zoomable timeline of a run's steps, redrawn while the run continues. The server draws it first
 * (`pages/timeline.py`): the constants here are the same.
 */

import { formatDuration, serverNow } from "./times.js";

const SVG = "http://www.w3.org/2000/svg";
const MAX_BARS = 300;
const MAX_LABELLED = 14;
const MAX_THICK = 60;

/** Percent of the width. */
const MIN_WIDTH = 0.25;
const TICKS = 4;
const MAX_NAME = 60;

/** Pixels. */
const CHARACTER_WIDTH = 7;
const MAX_ZOOM = 0.001;

/** The smallest part of the drawing that a drag selects. */
const MIN_DRAG = 0.01;

/** @typedef {import("./steps.js").Step} Step */

/** @typedef {{ x: number, end: number, y: number }} Bar `x` and `end` are percentages, `y` is in pixels */

export class Timeline {
  /** The part of the run's time that is shown, from 0 to 1. */
  #from = 0;
  #to = 1;

  /**
   * @param {HTMLElement} box
   * @param {() => Step[]} steps
   * @param {() => { start: number, end: number }} extent returns the run's time; `end` is NaN until it has ended
   */
  constructor(box, steps, extent) {
    this.box = box;
    this.steps = steps;
    this.extent = extent;
    this.svg = /** @type {SVGSVGElement} */ (box.querySelector("#bars"));
    this.axis = /** @type {HTMLElement} */ (box.querySelector("#axis"));
    const buttons = /** @type {HTMLElement} */ (box.querySelector("#zoom"));
    buttons.hidden = false;
    buttons.addEventListener("click", (event) => {
      const button = /** @type {HTMLElement} */ (event.target).closest("button");
      if (button) this.zoom(/** @type {"in" | "out" | "all"} */ (button.dataset.zoom));
    });
    this.svg.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    this.svg.addEventListener("pointerdown", (event) => this.#drag(event));
  }

  /** @param {"in" | "out" | "all"} how */
  zoom(how) {
    if (how === "all") this.#show(0, 1);
    else this.#scale(how === "in" ? 0.5 : 2, 0.5);
  }

  draw() {
    const { start, end: runEnd } = this.extent();
    const end = Number.isNaN(runEnd) ? serverNow() : runEnd;
    const length = Math.max(end - start, 0.001);
    const shown = mostTelling(this.steps().filter((step) => !step.internal && !Number.isNaN(step.startedAt)));
    this.box.hidden = !shown.length;
    if (!shown.length) return;
    const labelled = shown.length <= MAX_LABELLED;
    const width = this.svg.clientWidth || 1000;
    const [pitch, height] = labelled ? [22, 16] : shown.length <= MAX_THICK ? [11, 8] : [5, 4];
    const position = (/** @type {number} */ time) => ((time - start) / length - this.#from) / (this.#to - this.#from);
    /** @type {Map<number, Bar>} */
    const bars = new Map();
    const parts = shown.map((step, index) => {
      const left = position(step.startedAt);
      const right = Math.max(position(Number.isNaN(step.endedAt) ? end : step.endedAt), left + MIN_WIDTH / 100);
      const bar = { x: 100 * Math.max(left, -1), end: 100 * Math.min(right, 2), y: index * pitch };
      bars.set(step.row, bar);
      return drawBar(step, bar, height, labelled, end, width);
    });
    const edges = createSvg("g", { class: "edges" });
    if (shown.length <= MAX_THICK) for (const step of shown) edges.append(...drawEdges(step, bars, height));
    const focused = document.activeElement?.closest?.("#bars a")?.getAttribute("href");
    const room = /** @type {HTMLElement} */ (this.svg.parentElement);
    const atEnd = Number.isNaN(runEnd) && room.scrollTop + room.clientHeight >= room.scrollHeight - pitch / 2;
    this.svg.setAttribute("height", String(shown.length * pitch));
    this.svg.replaceChildren(edges, ...parts);
    if (focused) /** @type {SVGAElement | null} */ (this.svg.querySelector(`a[href="${focused}"]`))?.focus({ preventScroll: true });
    if (atEnd) room.scrollTop = room.scrollHeight;
    const ticks = Array.from({ length: TICKS + 1 }, (_, tick) => this.#from + ((this.#to - this.#from) * tick) / TICKS);
    this.axis.replaceChildren(...ticks.map((tick) => Object.assign(document.createElement("span"), { textContent: formatDuration(tick * length) })));
  }

  /** Scroll to the first bar of a step that failed. */
  showFailed() {
    const bar = this.svg.querySelector(".bad rect");
    const room = /** @type {HTMLElement} */ (this.svg.parentElement);
    if (bar) room.scrollTop = Number(bar.getAttribute("y")) - room.clientHeight / 2;
  }

  /** @param {number} from @param {number} to */
  #show(from, to) {
    const width = Math.min(to - from, 1);
    this.#from = Math.max(0, Math.min(from, 1 - width));
    this.#to = this.#from + width;
    this.draw();
  }

  /** @param {number} factor @param {number} center the point that stays in place, as a share of the width */
  #scale(factor, center) {
    const width = this.#to - this.#from;
    const scaled = Math.max(MAX_ZOOM, Math.min(1, width * factor));
    const time = this.#from + width * center;
    this.#show(time - scaled * center, time + scaled * (1 - center));
  }

  /** Ctrl and the wheel zoom, Shift and the wheel move. @param {WheelEvent} event */
  #wheel(event) {
    if (!event.ctrlKey && !event.shiftKey) return;
    event.preventDefault();
    const delta = event.deltaY || event.deltaX;
    const move = Math.sign(delta) * (this.#to - this.#from) * 0.1;
    if (event.ctrlKey) this.#scale(delta < 0 ? 0.8 : 1.25, this.#share(event));
    else this.#show(this.#from + move, this.#to + move);
  }

  /** Dragging over a part of the drawing zooms into it. @param {PointerEvent} event */
  #drag(event) {
    if (event.button !== 0) return;
    const start = this.#share(event);
    const selection = createSvg("rect", { class: "zoom-selection", y: 0, height: "100%", width: 0 });
    const onMove = (/** @type {PointerEvent} */ moved) => {
      const [left, right] = [start, this.#share(moved)].sort((a, b) => a - b);
      if (right - left < MIN_DRAG) return;
      if (!selection.isConnected) this.svg.append(selection);
      selection.setAttribute("x", `${100 * left}%`);
      selection.setAttribute("width", `${100 * (right - left)}%`);
    };
    const onUp = (/** @type {PointerEvent} */ released) => {
      window.removeEventListener("pointermove", onMove);
      window.removeEventListener("pointerup", onUp);
      if (!selection.isConnected) return;
      selection.remove();
      // The end of a drag over a bar isn't a click on it.
      const ignoreClick = (/** @type {Event} */ click) => click.preventDefault();
      window.addEventListener("click", ignoreClick, { capture: true, once: true });
      setTimeout(() => window.removeEventListener("click", ignoreClick, { capture: true }), 0);
      const [left, right] = [start, this.#share(released)].sort((a, b) => a - b);
      const width = this.#to - this.#from;
      if (right - left >= MIN_DRAG) this.#show(this.#from + width * left, this.#from + width * right);
    };
    window.addEventListener("pointermove", onMove);
    window.addEventListener("pointerup", onUp);
  }

  /** Return the pointer's position in the drawing, from 0 to 1. @param {MouseEvent} event */
  #share(event) {
    const box = this.svg.getBoundingClientRect();
    return Math.max(0, Math.min(1, (event.clientX - box.left) / box.width));
  }
}

/** Return the steps that are drawn, as `lay_out_timeline` does. @param {Step[]} steps */
function mostTelling(steps) {
  if (steps.length <= MAX_BARS) return steps;
  const weight = (/** @type {Step} */ { state, element, endedAt, startedAt }) =>
    state === "bad" || state === "runs" || element.dataset.critical ? Number.MAX_VALUE : endedAt - startedAt || 0;
  const kept = new Set([...steps].sort((a, b) => weight(b) - weight(a)).slice(0, MAX_BARS));
  return steps.filter((step) => kept.has(step));
}

/** @param {Step} step @param {Bar} bar @param {number} height @param {boolean} labelled @param {number} now the end of steps that run @param {number} width in pixels */
function drawBar(step, bar, height, labelled, now, width) {
  const took = formatDuration((Number.isNaN(step.endedAt) ? now : step.endedAt) - step.startedAt);
  const critical = step.element.dataset.critical === "yes";
  const link = createSvg("a", { href: `#v${step.row}`, class: critical ? `${step.state} critical` : step.state, "aria-label": `${step.name}, ${took}${critical ? ", on the critical path" : ""}` });
  const title = createSvg("title", {});
  title.textContent = `${step.name} · ${took}${critical ? " · on the critical path" : ""}`;
  link.append(title, createSvg("rect", { class: "bar", x: `${bar.x}%`, y: bar.y, width: `${bar.end - bar.x}%`, height, rx: 3 }));
  if (labelled) {
    const name = step.name.length > MAX_NAME ? `${step.name.slice(0, MAX_NAME - 1)}…` : step.name;
    const label = labelPosition(name, bar, width);
    const x = label === "right" ? bar.end : label === "left" ? bar.x : Math.max(bar.x, 0);
    const text = createSvg("text", { class: label, x: `${x}%`, y: bar.y + 12, dx: label === "left" ? -6 : 6, "text-anchor": label === "left" ? "end" : "start" });
    text.textContent = name;
    link.append(text);
  }
  return link;
}

/** Return the position of a label that has room beside its bar, or inside it. @param {string} name @param {Bar} bar @param {number} width in pixels */
function labelPosition(name, bar, width) {
  const needed = (100 * CHARACTER_WIDTH * (name.length + 2)) / width;
  const [left, right] = [Math.min(bar.x, 100), 100 - Math.max(bar.end, 0)];
  if (needed <= Math.max(left, right)) return right >= Math.min(needed, left) ? "right" : "left";
  if (Math.min(bar.end, 100) - Math.max(bar.x, 0) >= needed) return "inside";
  return left > right ? "left" : "right";
}

/** @param {Step} step @param {Map<number, Bar>} bars by row @param {number} height */
function drawEdges(step, bars, height) {
  const to = bars.get(step.row);
  const lines = [];
  for (const row of step.inputs.slice(0, 20)) {
    const from = bars.get(row);
    if (!from || !to || from.y >= to.y) continue;
    const [x, y1, y2] = [`${from.end}%`, from.y + height / 2, to.y + height / 2];
    lines.push(createSvg("line", { x1: x, y1, x2: x, y2 }), createSvg("line", { x1: x, y1: y2, x2: `${to.x}%`, y2 }));
  }
  return lines;
}

/** @param {string} name @param {Record<string, string | number>} attributes */
function createSvg(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  return element;
}
