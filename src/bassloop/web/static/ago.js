/** Times as readers think of them: how long ago, and on pointing at one, when by their own clock. */

const STEPS = /** @type {[number, number, string][]} */ ([
  [90, 1, "s"],
  [90 * 60, 60, "min"],
  [36 * 3600, 3600, "h"],
  [30 * 86400, 86400, "days"],
]);

/** @param {ParentNode} within */
export function sayAgo(within) {
  const now = Date.now() / 1000;
  for (const time of within.querySelectorAll("time[datetime]")) {
    const at = Date.parse(/** @type {HTMLTimeElement} */ (time).dateTime) / 1000;
    const past = now - at;
    const step = STEPS.find(([most]) => past < most);
    if (Number.isNaN(at) || past < -60) continue;
    const when = new Date(at * 1000);
    /** @type {HTMLElement} */ (time).title = when.toLocaleString();
    if (!step) time.textContent = when.toLocaleDateString(undefined, { dateStyle: "medium" });
    else time.textContent = past < 5 ? "just now" : `${Math.round(past / step[1])} ${step[2]} ago`;
  }
}

sayAgo(document);
setInterval(() => sayAgo(document), 30_000);
