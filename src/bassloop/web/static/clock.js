/** Times in words, by the server's clock. */

/** Seconds that the server's clock is ahead of this machine's. */
let ahead = 0;

/** @param {number} serverNow seconds since the epoch, as the server has it now */
export function setClock(serverNow) {
  ahead = serverNow - Date.now() / 1000;
}

/** @returns {number} seconds since the epoch, by the server's clock */
export function now() {
  return Date.now() / 1000 + ahead;
}

/**
 * `0.4 s`, `12 s`, `1 min 8 s`, `2 h 4 min`: as the server says it.
 * @param {number} seconds
 */
export function duration(seconds) {
  if (seconds < 10) return `${Math.max(seconds, 0).toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/**
 * Seconds since a beginning as a column of a log has them: `0.04`, `75.20`, `1:02:03`.
 * @param {number} seconds
 */
export function since(seconds) {
  const past = Math.max(seconds, 0);
  if (past < 600) return past.toFixed(2);
  const whole = Math.floor(past);
  const two = (/** @type {number} */ number) => String(number).padStart(2, "0");
  const minutes = two(Math.floor((whole % 3600) / 60));
  return whole < 3600 ? `${minutes}:${two(whole % 60)}` : `${Math.floor(whole / 3600)}:${minutes}:${two(whole % 60)}`;
}

/**
 * The time of day, in the reader's own zone.
 * @param {number} at seconds since the epoch
 */
export function timeOfDay(at) {
  const when = new Date(at * 1000);
  const two = (/** @type {number} */ number) => String(number).padStart(2, "0");
  return `${two(when.getHours())}:${two(when.getMinutes())}:${two(when.getSeconds())}`;
}
