/** Staying at the end of a log that grows, until the reader scrolls away, and the way back. */

import { isOurs, scrollDown } from "./scrolling.js";

/** Pixels from the log's end to the end of the screen when it is followed. */
const MARGIN = 56;

/** Pixels that the log's end may be off the screen and is still being read. */
const NEAR = 80;

export class Follower {
  /** @type {import("./steps.js").Step | null} the step whose log is followed, or would be */
  step = null;
  following = false;
  #missed = 0;

  /**
   * @param {HTMLButtonElement} button
   * @param {HTMLElement} status tells who can't see the button, now and then
   */
  constructor(button, status) {
    this.button = button;
    this.status = status;
    this.words = /** @type {HTMLElement} */ (button.querySelector("span"));
    button.addEventListener("click", () => this.follow());
    window.addEventListener("wheel", (event) => event.deltaY < 0 && this.leave(), { passive: true });
    window.addEventListener("scroll", () => this.#scrolled(), { passive: true });
  }

  /** Go to the end, and stay there. */
  async follow() {
    this.following = true;
    this.#missed = 0;
    if (!this.step) return;
    this.step.open = true;
    const { view } = this.step;
    if (!view.atEnd) await view.show(view.total - 1, "end");
    this.#say();
    this.stay();
  }

  /** Leave the screen where it is from now on. */
  leave() {
    if (!this.following) return;
    this.following = false;
    this.#say();
  }

  /** What the reader looked for is elsewhere, or the run is over. */
  end() {
    this.step = null;
    this.following = false;
    this.#say();
  }

  /** Lines came. @param {import("./steps.js").Step} step @param {number} count */
  arrived(step, count) {
    // Steps that run beside each other would pull the screen to and fro: the first one has it.
    if (!this.step || this.step.state !== "runs" || !this.step.lines) this.step = step;
    if (this.step !== step) return;
    if (this.following) this.stay();
    else this.#missed += count;
    this.#say();
  }

  /** Bring the end back to where it was. */
  stay() {
    if (!this.following || !this.step) return;
    const off = this.step.log.getBoundingClientRect().bottom - (window.innerHeight - MARGIN);
    if (off <= 0) return;
    scrollDown(off);
  }

  #scrolled() {
    if (!this.step || isOurs()) return;
    const { bottom } = this.step.log.getBoundingClientRect();
    const atEnd = bottom <= window.innerHeight + NEAR && bottom > 0 && this.step.view.atEnd;
    if (!atEnd) this.leave();
    else if (!this.following) {
      this.following = true;
      this.#missed = 0;
      this.#say();
    }
  }

  #say() {
    this.button.hidden = this.following || !this.step;
    const missed = this.#missed.toLocaleString("en");
    this.words.textContent = this.#missed ? `${missed} new line${this.#missed === 1 ? "" : "s"}` : "Follow the end";
  }
}
