/** Where a run's time went, drawn anew while it goes on, and zoomable. The server draws it first. */

import { duration, now } from "./clock.js";

const SVG = "http://www.w3.org/2000/svg";
const MOST = 300;
const MANY = 60;
const FEW = 14;
const LEAST = 0.25;
const TICKS = 4;
const DEEPEST = 0.001;

/** @typedef {import("./steps.js").Step} Step */

export class Timeline {
  /** The part of the whole time that is shown. */
  #from = 0;
  #to = 1;

  /**
   * @param {HTMLElement} box
   * @param {() => Step[]} steps
   * @param {() => { began: number, ended: number }} extent the whole time; `ended` is NaN while it goes on
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

  /** @param {"in" | "out" | "all"} how @param {number} [at] the place that stays, as a share of what is shown */
  zoom(how, at = 0.5) {
    if (how === "all") this.#show(0, 1);
    else this.#scale(how === "in" ? 0.5 : 2, at);
  }

  draw() {
    const { began, ended } = this.extent();
    const end = Number.isNaN(ended) ? now() : ended;
    const length = Math.max(end - began, 0.001);
    const shown = this.steps().filter((step) => !step.internal && !Number.isNaN(step.began)).slice(0, MOST);
    this.box.hidden = !shown.length;
    if (!shown.length) return;
    const named = shown.length <= FEW;
    const [pitch, thick] = named ? [22, 16] : shown.length <= MANY ? [11, 8] : [5, 4];
    const place = (/** @type {number} */ at) => ((at - began) / length - this.#from) / (this.#to - this.#from);
    /** @type {Map<number, { x: number, end: number, y: number }>} */
    const bars = new Map();
    const parts = shown.map((step, index) => {
      const start = place(step.began);
      const stop = Math.max(place(Number.isNaN(step.ended) ? end : step.ended), start + LEAST / 100);
      const bar = { x: 100 * Math.max(start, -1), end: 100 * Math.min(stop, 2), y: index * pitch };
      bars.set(step.row, bar);
      return this.#bar(step, bar, thick, named, end);
    });
    const edges = element("g", { class: "edges" });
    for (const step of shown) edges.append(...this.#edges(step, bars, thick));
    const focused = document.activeElement?.closest?.("#bars a")?.getAttribute("href");
    this.svg.setAttribute("height", String(shown.length * pitch));
    this.svg.replaceChildren(edges, ...parts);
    if (focused) /** @type {SVGAElement | null} */ (this.svg.querySelector(`a[href="${focused}"]`))?.focus({ preventScroll: true });
    const marks = Array.from({ length: TICKS + 1 }, (_, tick) => this.#from + ((this.#to - this.#from) * tick) / TICKS);
    this.axis.replaceChildren(...marks.map((mark) => Object.assign(document.createElement("span"), { textContent: duration(mark * length) })));
  }

  /** @param {Step} step @param {{ x: number, end: number, y: number }} bar @param {number} thick @param {boolean} named @param {number} end */
  #bar(step, bar, thick, named, end) {
    const took = duration((Number.isNaN(step.ended) ? end : step.ended) - step.began);
    const link = element("a", { href: `#v${step.row}`, class: step.state, "aria-label": `${step.name}, ${took}` });
    const title = element("title", {});
    title.textContent = `${step.name} · ${took}`;
    link.append(title, element("rect", { class: "bar", x: `${bar.x}%`, y: bar.y, width: `${bar.end - bar.x}%`, height: thick, rx: 3 }));
    if (named) {
      const left = bar.x > 100 - bar.end;
      const at = left ? Math.min(bar.x, 100) : Math.max(bar.end, 0);
      const text = element("text", { x: `${at}%`, y: bar.y + 12, dx: left ? -6 : 6, "text-anchor": left ? "end" : "start" });
      text.textContent = step.name.slice(0, 60);
      link.append(text);
    }
    return link;
  }

  /** @param {Step} step @param {Map<number, { x: number, end: number, y: number }>} bars @param {number} thick */
  #edges(step, bars, thick) {
    const to = bars.get(step.row);
    const lines = [];
    for (const row of step.inputs.slice(0, 20)) {
      const from = bars.get(row);
      if (!from || !to || from.y >= to.y) continue;
      const [x, y1, y2] = [`${from.end}%`, from.y + thick / 2, to.y + thick / 2];
      lines.push(element("line", { x1: x, y1, x2: x, y2 }), element("line", { x1: x, y1: y2, x2: `${to.x}%`, y2 }));
    }
    return lines;
  }

  /** @param {number} from @param {number} to */
  #show(from, to) {
    const width = Math.min(to - from, 1);
    this.#from = Math.max(0, Math.min(from, 1 - width));
    this.#to = this.#from + width;
    this.draw();
  }

  /** @param {number} factor @param {number} at */
  #scale(factor, at) {
    const width = this.#to - this.#from;
    const next = Math.max(DEEPEST, Math.min(1, width * factor));
    const middle = this.#from + width * at;
    this.#show(middle - next * at, middle + next * (1 - at));
  }

  /** Ctrl and the wheel zoom, as they do elsewhere; Shift and the wheel move. @param {WheelEvent} event */
  #wheel(event) {
    if (!event.ctrlKey && !event.shiftKey) return;
    event.preventDefault();
    const turned = event.deltaY || event.deltaX;
    const width = this.#to - this.#from;
    if (event.ctrlKey) this.#scale(turned < 0 ? 0.8 : 1.25, this.#share(event));
    else this.#show(this.#from + Math.sign(turned) * width * 0.1, this.#to + Math.sign(turned) * width * 0.1);
  }

  /** Drawing over a part of the time shows that part. @param {PointerEvent} event */
  #drag(event) {
    if (event.button !== 0) return;
    const begin = this.#share(event);
    const veil = element("rect", { class: "veil", y: 0, height: "100%", width: 0 });
    const move = (/** @type {PointerEvent} */ moved) => {
      const [left, right] = [begin, this.#share(moved)].sort((a, b) => a - b);
      if (right - left < 0.01) return;
      if (!veil.isConnected) this.svg.append(veil);
      veil.setAttribute("x", `${100 * left}%`);
      veil.setAttribute("width", `${100 * (right - left)}%`);
    };
    const up = (/** @type {PointerEvent} */ ended) => {
      window.removeEventListener("pointermove", move);
      window.removeEventListener("pointerup", up);
      if (!veil.isConnected) return;
      veil.remove();
      // What was drawn over a bar is no click on it.
      const stop = (/** @type {Event} */ click) => click.preventDefault();
      window.addEventListener("click", stop, { capture: true, once: true });
      setTimeout(() => window.removeEventListener("click", stop, { capture: true }), 0);
      const [left, right] = [begin, this.#share(ended)].sort((a, b) => a - b);
      const width = this.#to - this.#from;
      if (right - left >= 0.01) this.#show(this.#from + width * left, this.#from + width * right);
    };
    window.addEventListener("pointermove", move);
    window.addEventListener("pointerup", up);
  }

  /** Where in the drawing something happened, from 0 to 1. @param {MouseEvent} event */
  #share(event) {
    const box = this.svg.getBoundingClientRect();
    return Math.max(0, Math.min(1, (event.clientX - box.left) / box.width));
  }
}

/** @param {string} name @param {Record<string, string | number>} attributes */
function element(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  return made;
}
