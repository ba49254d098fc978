/** A commit's or pull request's page that stays current: it is fetched again when one of its runs has changed. */

import { connect } from "./live_feed.js";
import { get } from "./requests.js";
import { showRelativeTimes } from "./times.js";

const live = /** @type {HTMLElement} */ (document.getElementById("overview")).dataset.live ?? "";

/** The states that the page shows. */
let shown = statesOf(document);

/** @param {ParentNode} root */
function statesOf(root) {
  const rows = /** @type {HTMLElement[]} */ ([...root.querySelectorAll("#overview li.run")]);
  return rows.map((row) => `${row.dataset.run} ${row.className}`).join();
}

let requests = 0;

async function refresh() {
  const request = (requests += 1);
  const response = await get(location.href, { headers: { accept: "text/html" } });
  if (!response?.ok) return;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  if (request !== requests) return;
  const states = statesOf(fresh);
  if (states === shown) return;
  shown = states;
  const focused = /** @type {HTMLElement | null} */ (document.activeElement);
  const form = focused?.closest("form")?.getAttribute("action");
  const link = focused?.getAttribute("href");
  document.getElementById("overview")?.replaceWith(/** @type {HTMLElement} */ (fresh.getElementById("overview")));
  document.title = fresh.title;
  showRelativeTimes(document);
  // Keep the keyboard focus.
  const target = form ? `form[action="${CSS.escape(form)}"] button` : link && `#overview a[href="${CSS.escape(link)}"]`;
  if (target) /** @type {HTMLElement | null} */ (document.querySelector(target))?.focus();
}

connect(live, {
  hello: () => null,
  receive: () => {
    refresh();
    return false;
  },
  connectionChanged: () => {},
  pauses: true,
});
