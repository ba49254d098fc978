/**
 * Durations and times as text. Every page loads this module: it shows each `<time>` relative to now and
 * keeps it current.
 */

/** Upper limit in seconds, seconds per unit, unit. @type {[number, number, string][]} */
const UNITS = [
  [90, 1, "s"],
  [90 * 60, 60, "min"],
  [36 * 3600, 3600, "h"],
  [30 * 86400, 86400, "days"],
];

/** Seconds that the server's clock is ahead of this machine's. */
let clockOffset = 0;

/** @param {number} serverTime seconds since the epoch by the server's clock */
export function syncClock(serverTime) {
  clockOffset = serverTime - Date.now() / 1000;
}

/** Return the server's time. @returns {number} seconds since the epoch */
export function serverNow() {
  return Date.now() / 1000 + clockOffset;
}

/**
 * Format a duration as the server does: `0.4 s`, `12 s`, `1 min 8 s`, `2 h 4 min`, `3 d 2 h`.
 * @param {number} seconds
 */
export function formatDuration(seconds) {
  if (seconds < 10) return `${Math.max(seconds, 0).toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  if (whole < 2 * 86400) return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
  return `${Math.floor(whole / 86400)} d ${Math.floor((whole % 86400) / 3600)} h`;
}

/**
 * Format the seconds since a step began, for a column beside its log: `0.04`, `75.20`, `1:02:03`.
 * @param {number} seconds
 */
export function formatElapsed(seconds) {
  const elapsed = Math.max(seconds, 0);
  if (elapsed < 600) return elapsed.toFixed(2);
  const whole = Math.floor(elapsed);
  const minutes = twoDigits(Math.floor((whole % 3600) / 60));
  return whole < 3600 ? `${minutes}:${twoDigits(whole % 60)}` : `${Math.floor(whole / 3600)}:${minutes}:${twoDigits(whole % 60)}`;
}

/**
 * Format the time of day in the reader's time zone.
 * @param {number} time seconds since the epoch
 */
export function formatTimeOfDay(time) {
  const date = new Date(time * 1000);
  return [date.getHours(), date.getMinutes(), date.getSeconds()].map(twoDigits).join(":");
}

/** Show the `<time>` elements in a part of the page relative to now. @param {ParentNode} root */
export function showRelativeTimes(root) {
  const now = Date.now() / 1000;
  for (const element of /** @type {NodeListOf<HTMLTimeElement>} */ (root.querySelectorAll("time[datetime]"))) {
    const time = Date.parse(element.dateTime) / 1000;
    const elapsed = now - time;
    if (Number.isNaN(time) || elapsed < -60) continue;
    const date = new Date(time * 1000);
    const unit = UNITS.find(([limit]) => elapsed < limit);
    element.title = date.toLocaleString();
    if (!unit) element.textContent = date.toLocaleDateString(undefined, { dateStyle: "medium" });
    else element.textContent = elapsed < 5 ? "just now" : `${Math.round(elapsed / unit[1])} ${unit[2]} ago`;
  }
}

/** @param {number} number */
function twoDigits(number) {
  return String(number).padStart(2, "0");
}

showRelativeTimes(document);
setInterval(() => showRelativeTimes(document), 30_000);
