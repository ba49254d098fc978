/**
 * News that came while the page was busy, as one: however fast a log is written, the page draws what has
 * come by now, and no more of it than a reader could have seen.
 */

/** Lines of one log that are kept; those before them are fetched when somebody looks at them. */
const MOST = 400;

export class Backlog {
  /** @type {any} */
  #news = null;
  /** @type {Map<number, any>} */
  #vertexes = new Map();
  /** @type {Map<number, any>} */
  #logs = new Map();

  /** @param {any} news as the server tells it */
  add(news) {
    this.#news = { ...this.#news, ...news };
    for (const vertex of news.vertexes ?? []) this.#vertexes.set(vertex.row, vertex);
    for (const log of news.logs ?? []) this.#logs.set(log.row, joined(this.#logs.get(log.row), log));
  }

  /** @returns {any} all that came since this was last asked, as one message; null if nothing did */
  take() {
    if (!this.#news) return null;
    const news = { ...this.#news, vertexes: [...this.#vertexes.values()], logs: [...this.#logs.values()] };
    this.#news = null;
    this.#vertexes.clear();
    this.#logs.clear();
    return news;
  }
}

/** @param {any} before @param {any} log @returns {any} */
function joined(before, log) {
  const whole = before && before.start + before.lines.length === log.start;
  const lines = whole ? [...before.lines, ...log.lines] : log.lines;
  const kept = lines.slice(-MOST);
  return { ...log, start: log.start + log.lines.length - kept.length, lines: kept };
}
