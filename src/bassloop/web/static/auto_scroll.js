/** Scrolling by the page itself: it stays at the end of a growing log until the reader scrolls away. */

/** Pixels between the end of a followed log and the bottom of the screen. */
const MARGIN = 56;

/** The part of the screen in pixels that the page's header and the step's summary cover. */
export const COVERED = 100;

/** Pixels below the screen within which a log's end still counts as being read. */
const NEAR = 80;

let ownScrollY = -1;

/** The position of the page after its last known scrolling, by itself or by the reader. */
let lastScrollY = 0;

/** @param {number} pixels down */
export function scrollDown(pixels) {
  window.scrollBy({ top: pixels, behavior: "instant" });
  noteOwnScroll();
}

/** @param {Element} element @param {ScrollLogicalPosition} block where on the screen to put it */
export function scrollTo(element, block) {
  element.scrollIntoView({ block, behavior: "instant" });
  noteOwnScroll();
}

/**
 * Change the page around an element, and keep one edge of the element at its position on the screen.
 * @param {Element | null | undefined} element
 * @param {() => void} change
 * @param {"top" | "bottom"} [edge]
 */
export function keepInPlace(element, change, edge = "top") {
  const place = element?.getBoundingClientRect()[edge] ?? 0;
  change();
  if (!element?.isConnected) return;
  const offset = element.getBoundingClientRect()[edge] - place;
  if (Math.abs(offset) >= 1) scrollDown(offset);
}

/** Note it at once: its event comes later, when the reader may have scrolled on. */
function noteOwnScroll() {
  ownScrollY = lastScrollY = window.scrollY;
}

/** Return whether the page is where its own scrolling left it. */
function isOwnScroll() {
  return Math.abs(window.scrollY - ownScrollY) <= 2;
}

export class AutoScroll {
  /** @type {import("./steps.js").Step | null} the step whose log is followed, or would be */
  step = null;
  active = false;
  #unseen = 0;

  /** @param {HTMLButtonElement} button goes back to the end */
  constructor(button) {
    this.button = button;
    this.label = /** @type {HTMLElement} */ (button.querySelector("span"));
    button.addEventListener("click", () => this.start());
    window.addEventListener("wheel", (event) => event.deltaY < 0 && this.stop(), { passive: true });
    window.addEventListener("scroll", () => this.#onScroll(), { passive: true });
  }

  /** Go to the end, and stay there. */
  async start() {
    this.active = true;
    this.#unseen = 0;
    if (!this.step) return;
    this.step.open = true;
    const { view } = this.step;
    if (!view.atEnd) await view.showLine(view.total - 1, "end");
    this.#updateButton();
    this.keepAtEnd();
  }

  /** Stop following the log. */
  stop() {
    if (!this.active) return;
    this.active = false;
    this.#updateButton();
  }

  /** Stop for good: the run has ended. */
  end() {
    this.step = null;
    this.active = false;
    this.#updateButton();
  }

  /** Note new lines. @param {import("./steps.js").Step} step @param {number} count */
  linesAdded(step, count) {
    const previous = this.step;
    // The first of several parallel steps keeps the screen: it would jump between them otherwise.
    if (!this.step || this.step.state !== "runs" || !this.step.lines) this.step = step;
    if (this.step !== step) return;
    // The page scrolls to another step's end when its lines have been drawn.
    if (!this.active) this.#unseen += count;
    else if (step === previous) this.keepAtEnd();
    this.#updateButton();
  }

  /** Scroll the end of the log back to its position on the screen. */
  keepAtEnd() {
    if (!this.active || !this.step) return;
    const excess = this.step.log.getBoundingClientRect().bottom - (window.innerHeight - MARGIN);
    if (excess > 0) scrollDown(excess);
  }

  #onScroll() {
    // While somebody scrolls up, the end is still near for a while. Follow it only if they scroll down.
    const isDown = window.scrollY > lastScrollY;
    lastScrollY = window.scrollY;
    if (!this.step || isOwnScroll()) return;
    const { bottom } = this.step.log.getBoundingClientRect();
    const atEnd = bottom <= window.innerHeight + NEAR && bottom > 0 && this.step.view.atEnd;
    if (!atEnd) this.stop();
    else if (!this.active && isDown) {
      this.active = true;
      this.#unseen = 0;
      this.#updateButton();
    }
  }

  #updateButton() {
    this.button.hidden = this.active || !this.step;
    const lines = `${this.#unseen.toLocaleString("en")} new line${this.#unseen === 1 ? "" : "s"}`;
    this.label.textContent = this.#unseen ? lines : "Follow the end";
  }
}
