/**
 * The lines of one log, fetched in chunks when they are needed. The least recently used chunks are dropped,
 * so that a page never holds a whole log.
 */

const CHUNK = 256;

/** The maximum number of cached characters. */
const MAX_SIZE = 12_000_000;
const LINE_OVERHEAD = 100;

/** Timeout in milliseconds for fetching lines. Without one, a response that never arrives would block all later updates. */
const PATIENCE = 30_000;

/**
 * @typedef {object} Chunk
 * @property {string[]} lines as HTML that the server escaped; fewer than CHUNK where the log ends
 * @property {[number, number][] | null} times pairs of a line and the time that applies from it on
 * @property {number} timed the number of lines when the times were fetched
 */

export class LineCache {
  /** @type {Map<number, Chunk>} in the order of their use, the latest last */
  #chunks = new Map();
  /** @type {Map<number, Promise<void>>} */
  #fetches = new Map();
  #size = 0;

  /** @param {string} url the step's */
  constructor(url) {
    this.url = url;
  }

  /**
   * Add lines from the live feed or the page.
   * @param {number} start
   * @param {string[]} lines
   */
  add(start, lines) {
    for (let index = 0; index < lines.length; ) {
      const number = Math.floor((start + index) / CHUNK);
      const chunk = this.#use(number);
      const offset = start + index - number * CHUNK;
      const end = Math.min(lines.length, (number + 1) * CHUNK - start);
      // Lines after a gap are dropped: they are fetched together with the gap.
      if (offset <= chunk.lines.length) {
        for (let line = Math.max(index, chunk.lines.length - offset + index); line < end; line += 1) this.#append(chunk, lines[line]);
      }
      index = end;
    }
    this.#trim();
  }

  /**
   * Return lines `start` to `stop`, from 0; fewer where the log ends now. Rejects when the server can't be reached.
   * @param {number} start
   * @param {number} stop
   * @returns {Promise<string[]>}
   */
  async lines(start, stop) {
    if (stop <= start) return [];
    const first = Math.floor(start / CHUNK);
    const last = Math.floor((stop - 1) / CHUNK);
    const numbers = Array.from({ length: last - first + 1 }, (_, index) => first + index);
    await Promise.all(numbers.map((number) => this.#fill(number, Math.min(CHUNK, stop - number * CHUNK))));
    const found = [];
    for (const number of numbers) {
      const { lines } = this.#use(number);
      found.push(...lines.slice(Math.max(0, start - number * CHUNK), stop - number * CHUNK));
      if (lines.length < CHUNK) break;
    }
    this.#trim();
    return found;
  }

  /**
   * Return the times of lines `start` to `stop`, in seconds since the epoch.
   * @param {number} start
   * @param {number} stop
   * @returns {Promise<number[]>}
   */
  async times(start, stop) {
    const found = [];
    for (let number = Math.floor(start / CHUNK); number * CHUNK < stop; number += 1) {
      const chunk = this.#use(number);
      const end = Math.min(stop - number * CHUNK, chunk.lines.length);
      if (!chunk.times || chunk.timed < end) {
        const answer = await this.#get(number * CHUNK, number * CHUNK + Math.max(end, 1), "&times=yes");
        chunk.times = answer.times.map((/** @type {[number, number, number]} */ [line, time]) => [line, time]);
        chunk.timed = end;
      }
      const times = chunk.times ?? [];
      let index = 0;
      for (let line = Math.max(start, number * CHUNK); line < Math.min(stop, (number + 1) * CHUNK); line += 1) {
        while (index + 1 < times.length && times[index + 1][0] <= line) index += 1;
        found.push(times[index]?.[1] ?? NaN);
      }
    }
    return found;
  }

  /** @param {number} number @returns {Chunk} */
  #use(number) {
    const chunk = this.#chunks.get(number) ?? { lines: [], times: null, timed: 0 };
    this.#chunks.delete(number);
    this.#chunks.set(number, chunk);
    return chunk;
  }

  /** @param {Chunk} chunk @param {string} line */
  #append(chunk, line) {
    chunk.lines.push(line);
    this.#size += line.length + LINE_OVERHEAD;
  }

  /** @param {number} number @param {number} minimum lines that the chunk must have, if the log does */
  async #fill(number, minimum) {
    while (this.#fetches.has(number)) await this.#fetches.get(number);
    if (this.#use(number).lines.length >= minimum) return;
    const fetching = this.#fetch(number, minimum);
    this.#fetches.set(number, fetching);
    try {
      await fetching;
    } finally {
      this.#fetches.delete(number);
    }
  }

  /** @param {number} number @param {number} minimum */
  async #fetch(number, minimum) {
    for (;;) {
      const start = number * CHUNK + this.#use(number).lines.length;
      const answer = await this.#get(start, (number + 1) * CHUNK, "");
      this.add(start, answer.lines);
      if (!answer.lines.length || this.#use(number).lines.length >= minimum) return;
    }
  }

  /** @param {number} start @param {number} stop @param {string} options */
  async #get(start, stop, options) {
    const signal = AbortSignal.timeout(PATIENCE);
    const response = await fetch(`${this.url}/lines?start=${start}&stop=${stop}${options}`, { signal });
    if (!response.ok) throw new Error(`the server answered ${response.status}`);
    return response.json();
  }

  #trim() {
    for (const [number, chunk] of this.#chunks) {
      if (this.#size <= MAX_SIZE || this.#chunks.size <= 4) return;
      this.#chunks.delete(number);
      this.#size -= chunk.lines.reduce((sum, line) => sum + line.length + LINE_OVERHEAD, 0);
    }
  }
}
