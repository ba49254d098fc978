/** Replays a step's log at its own speed, as a terminal showed it. Without this module, the link downloads a recording. */

import { get } from "./requests.js";

/** Milliseconds: longer pauses are cut to this. */
const IDLE = 3_000;

/** The maximum number of lines on the screen: the last ones of the log. */
const ROWS = 24;

/** @typedef {[at: number, count: number, changed: Record<string, string>]} Frame */

const link = /** @type {HTMLAnchorElement | null} */ (document.querySelector("a[data-frames]"));
const byId = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));

class Player {
  /** @param {Frame[]} frames */
  constructor(frames) {
    this.frames = frames;
    /** When each frame is shown, in milliseconds, with pauses cut. @type {number[]} */
    this.times = [];
    for (const [index, [at]] of frames.entries()) {
      const pause = index ? 1000 * (at - frames[index - 1][0]) : 0;
      this.times.push((this.times.at(-1) ?? 0) + Math.min(pause, IDLE));
    }
    /** @type {string[]} */
    this.lines = [];
    this.rows = Math.min(ROWS, Math.max(...frames.map(([, count]) => count)));
    this.next = 0;
    this.timer = 0;
    this.playing = false;
  }

  /** Show everything up to a frame. @param {number} index */
  seek(index) {
    if (index < this.next) {
      this.lines = [];
      this.next = 0;
    }
    for (; this.next <= index; this.next++) {
      const [, count, changed] = this.frames[this.next];
      this.lines.length = count;
      for (const number in changed) this.lines[Number(number)] = changed[number];
    }
    this.draw();
  }

  draw() {
    const first = Math.max(0, this.lines.length - this.rows);
    byId("replay-screen").innerHTML = Array.from({ length: this.rows }, (_, row) => {
      const text = this.lines[first + row];
      const number = text === undefined ? "" : first + row + 1;
      return `<div class="line"><span class="ln" data-n="${number}"></span><span class="text">${text ?? ""}</span></div>`;
    }).join("");
    byId("replay-at").value = this.next - 1;
    byId("replay-time").textContent = `${this.frames[this.next - 1][0].toFixed(1)} s`;
  }

  /** @param {boolean} playing */
  play(playing) {
    clearTimeout(this.timer);
    this.playing = playing && this.frames.length > 1;
    byId("replay-play").textContent = this.playing ? "Pause" : "Play";
    if (!this.playing) return;
    if (this.next >= this.frames.length) this.seek(0);
    const pause = this.times[this.next] - this.times[this.next - 1];
    this.timer = setTimeout(() => {
      this.seek(this.next);
      this.play(this.next < this.frames.length);
    }, pause / Number(byId("replay-speed").value));
  }
}

/** @param {HTMLAnchorElement} from the link to the recording */
async function open(from) {
  const response = await get(from.dataset.frames ?? "", { headers: { Accept: "application/json" } });
  if (!response?.ok) {
    location.href = from.href;
    return;
  }
  const { frames, complete } = await response.json();
  if (!frames.length) return;
  byId("replay").hidden = false;
  byId("replay-at").max = frames.length - 1;
  byId("replay-note").innerHTML =
    `${complete ? "" : "This is the beginning. "}<a href="${from.href}">The whole recording</a> plays in a terminal, with asciinema.`;
  const player = new Player(frames);
  byId("replay-play").addEventListener("click", () => player.play(!player.playing));
  byId("replay-speed").addEventListener("change", () => player.play(player.playing));
  byId("replay-at").addEventListener("input", () => {
    player.play(false);
    player.seek(Number(byId("replay-at").value));
  });
  player.seek(0);
  player.play(!matchMedia("(prefers-reduced-motion: reduce)").matches);
  byId("replay-play").focus();
}

link?.addEventListener("click", (event) => {
  if (event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  if (byId("replay").hidden) void open(link);
  else byId("replay").scrollIntoView();
});
