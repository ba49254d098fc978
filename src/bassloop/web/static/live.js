/**
 * What is new on a run, while it goes on. The page says how many lines of each log it knows of, and is told
 * what came since: after a lost connection it goes on from there, without gap or double.
 */

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 15_000;
const GONE = 4404;

/**
 * @typedef {object} Ears
 * @property {() => Record<string, number>} places how many lines of which vertex's log are known
 * @property {(news: any) => void} heard
 * @property {(seconds: number | null) => void} lost the connection is lost and tried again after so many
 *   seconds; null: it is there
 */

/** @param {string} run @param {Ears} ears */
export function follow(run, ears) {
  let pause = FIRST_PAUSE;
  let over = false;

  function connect() {
    const address = new URL(`/runs/${encodeURIComponent(run)}/live`, location.href);
    address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(address);
    socket.onopen = () => socket.send(JSON.stringify({ logs: ears.places() }));
    socket.onmessage = (event) => {
      pause = FIRST_PAUSE;
      ears.lost(null);
      const news = JSON.parse(event.data);
      over = over || Boolean(news.end);
      ears.heard(news);
    };
    socket.onclose = (event) => {
      if (over || event.code === GONE) return;
      const wait = pause * (0.5 + Math.random());
      pause = Math.min(pause * 2, LONGEST_PAUSE);
      ears.lost(wait / 1000);
      setTimeout(connect, wait);
    };
  }

  connect();
}
