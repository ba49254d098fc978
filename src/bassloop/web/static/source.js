/**
 * One log's lines, fetched by chunks as they are asked for. Those that were asked for lately are kept, in
 * bounded room: a page never holds a whole log.
 */

const CHUNK = 256;
const ROOM = 12_000_000;

/**
 * @typedef {object} Chunk
 * @property {string[]} lines as HTML that the server escaped; fewer than CHUNK where the log ends, or ended
 * @property {[number, number][] | null} times lines, each with the time that holds from it on
 * @property {number} timed how many lines there were when the times were asked for
 */

export class LogSource {
  /** @type {Map<number, Chunk>} those that were used last come last */
  #chunks = new Map();
  /** @type {Map<number, Promise<void>>} */
  #asked = new Map();
  #room = 0;

  /** @param {string} address the vertex's */
  constructor(address) {
    this.address = address;
  }

  /**
   * Take lines that came by another way.
   * @param {number} start
   * @param {string[]} lines
   */
  put(start, lines) {
    for (let at = 0; at < lines.length; ) {
      const number = Math.floor((start + at) / CHUNK);
      const chunk = this.#use(number);
      const place = start + at - number * CHUNK;
      const end = Math.min(lines.length, (number + 1) * CHUNK - start);
      // What comes with a hole before it is left: it is fetched together with the hole.
      if (place <= chunk.lines.length) {
        for (let line = Math.max(at, chunk.lines.length - place + at); line < end; line += 1) this.#add(chunk, lines[line]);
      }
      at = end;
    }
    this.#tidy();
  }

  /**
   * Lines `start` to `stop`, from 0; fewer where the log ends now. Rejects when the server can't be asked.
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
    this.#tidy();
    return found;
  }

  /**
   * When lines `start` to `stop` came: seconds since the epoch, one for each.
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
        chunk.times = answer.times.map((/** @type {[number, number, number]} */ [line, at]) => [line, at]);
        chunk.timed = end;
      }
      const times = chunk.times ?? [];
      let at = 0;
      for (let line = Math.max(start, number * CHUNK); line < Math.min(stop, (number + 1) * CHUNK); line += 1) {
        while (at + 1 < times.length && times[at + 1][0] <= line) at += 1;
        found.push(times[at]?.[1] ?? NaN);
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
  #add(chunk, line) {
    chunk.lines.push(line);
    this.#room += line.length + 100;
  }

  /** @param {number} number @param {number} least lines that the chunk must have, if the log does */
  async #fill(number, least) {
    while (this.#asked.has(number)) await this.#asked.get(number);
    if (this.#use(number).lines.length >= least) return;
    const asking = this.#fetch(number, least);
    this.#asked.set(number, asking);
    try {
      await asking;
    } finally {
      this.#asked.delete(number);
    }
  }

  /** @param {number} number @param {number} least */
  async #fetch(number, least) {
    for (;;) {
      const start = number * CHUNK + this.#use(number).lines.length;
      const answer = await this.#get(start, (number + 1) * CHUNK, "");
      this.put(start, answer.lines);
      if (!answer.lines.length || this.#use(number).lines.length >= least) return;
    }
  }

  /** @param {number} start @param {number} stop @param {string} more */
  async #get(start, stop, more) {
    const answer = await fetch(`${this.address}/lines?start=${start}&stop=${stop}${more}`);
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    return answer.json();
  }

  #tidy() {
    for (const [number, chunk] of this.#chunks) {
      if (this.#room <= ROOM || this.#chunks.size <= 4) return;
      this.#chunks.delete(number);
      this.#room -= chunk.lines.reduce((sum, line) => sum + line.length + 100, 0);
    }
  }
}
