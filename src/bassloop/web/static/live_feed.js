/**
 * Live updates over a websocket that reconnects. Each time a page connects, it sends what it already has, so
 * that it misses nothing after a lost connection and gets nothing twice.
 */

const FIRST_DELAY = 500;
const LONGEST_DELAY = 15_000;

/** Milliseconds without a message after which the connection counts as lost: the server sends a heartbeat every 4 s. */
const MAX_SILENCE = 9_000;

/** Milliseconds after which a hidden page requests fewer updates. */
const HIDING_DELAY = 2_000;

/** Close code of a run that doesn't exist, or that the visitor may not see. */
const GONE = 4404;

/** Lines of one log that are kept while the page is busy. Earlier ones are fetched when somebody scrolls to them. */
const MAX_LINES = 400;

/**
 * @typedef {object} Listener
 * @property {(hidden: boolean) => object | null} hello returns the first message of each connection; null sends
 *   none. A hidden page can request fewer updates, and reconnects when it is shown
 * @property {(message: any) => boolean} receive takes a message and returns whether it was the last one
 * @property {(seconds: number | null) => void} connectionChanged is called with the seconds until the next
 *   attempt when the connection is lost, and with null when it works
 * @property {boolean} [pauses] is true for a page that needs no connection while it is hidden
 */

/** Connect, and reconnect until the server sends its last message. @param {string} path @param {Listener} listener */
export function connect(path, listener) {
  let delay = FIRST_DELAY;
  let ended = false;
  /** Whether the page was hidden when the connection was opened or closed. */
  let hidden = false;
  let timer = 0;
  let close = () => {};

  function open() {
    hidden = document.hidden;
    if (hidden && listener.pauses) return;
    const url = new URL(path, location.href);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url);
    let watchdog = 0;

    function restartWatchdog() {
      clearTimeout(watchdog);
      watchdog = window.setTimeout(() => lose(0), MAX_SILENCE);
    }

    close = () => {
      clearTimeout(watchdog);
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    };

    /** Give up this connection, and try another one. @param {number} code */
    function lose(code) {
      close();
      ended ||= code === GONE;
      if (ended) return;
      const wait = delay * (0.5 + Math.random());
      delay = Math.min(delay * 2, LONGEST_DELAY);
      listener.connectionChanged(wait / 1000);
      timer = window.setTimeout(open, wait);
    }

    socket.onopen = () => {
      const hello = listener.hello(hidden);
      if (hello) socket.send(JSON.stringify(hello));
    };
    socket.onmessage = (event) => {
      restartWatchdog();
      delay = FIRST_DELAY;
      listener.connectionChanged(null);
      const message = JSON.parse(event.data);
      if (message.heartbeat) socket.send("{}");
      else if (message.end && hidden) close(); // The rest is sent when the page is shown.
      else ended = listener.receive(message) || ended;
    };
    socket.onclose = (event) => lose(event.code);
    restartWatchdog();
  }

  function reopen() {
    if (ended || hidden === document.hidden) return;
    close();
    clearTimeout(timer);
    open();
  }

  let hiding = 0;
  document.addEventListener("visibilitychange", () => {
    clearTimeout(hiding);
    if (document.hidden) hiding = window.setTimeout(reopen, HIDING_DELAY);
    else reopen();
  });
  open();
}

/**
 * Updates of a run that arrive while the page is busy, merged into one. However fast a log grows, the page
 * draws only the latest state, and only the lines that a reader could see.
 */
export class UpdateBuffer {
  /** @type {any} */
  #update = null;
  /** @type {Map<number, any>} */
  #steps = new Map();
  /** @type {Map<number, any>} */
  #logs = new Map();

  /** @param {any} update a message of the server */
  add(update) {
    this.#update = { ...this.#update, ...update };
    for (const step of update.vertexes ?? []) this.#steps.set(step.row, step);
    for (const log of update.logs ?? []) this.#logs.set(log.row, merge(this.#logs.get(log.row), log));
  }

  /** Return everything added since the last call as one message, or null. @returns {any} */
  take() {
    if (!this.#update) return null;
    const update = { ...this.#update, vertexes: [...this.#steps.values()], logs: [...this.#logs.values()] };
    this.#update = null;
    this.#steps.clear();
    this.#logs.clear();
    return update;
  }
}

/** @param {any} earlier @param {any} later @returns {any} */
function merge(earlier, later) {
  const adjacent = earlier && earlier.start + earlier.lines.length === later.start;
  const lines = (adjacent ? [...earlier.lines, ...later.lines] : later.lines).slice(-MAX_LINES);
  return { ...later, start: later.start + later.lines.length - lines.length, lines };
}
