/** Keyboard shortcuts of all pages but a run's, which has more of them (`run_page.js`). The same keys do the same. */

import { bindKeys, setUpHelp } from "./keyboard.js";
import { cyclePreference } from "./preferences.js";

/** Focus the next or previous run of the page's lists. @param {1 | -1} direction */
function goToRun(direction) {
  const links = /** @type {HTMLElement[]} */ ([...document.querySelectorAll("li.run a.name")]);
  const row = document.activeElement?.closest("li.run");
  const index = links.findIndex((link) => row?.contains(link));
  links[index < 0 && direction < 0 ? links.length - 1 : index + direction]?.focus();
}

/** Focus the first field of the page's search or filter, with its text selected. */
function focusSearch() {
  const field = /** @type {HTMLInputElement | null} */ (document.querySelector("form[role=search] input"));
  field?.focus();
  field?.select();
}

bindKeys({
  "?": setUpHelp(),
  "/": focusSearch,
  j: () => goToRun(1),
  k: () => goToRun(-1),
  d: () => cyclePreference("scheme"),
});

document.addEventListener("keydown", (event) => {
  const field = event.target;
  if (event.key === "Escape" && field instanceof HTMLInputElement && field.form?.matches("[role=search]")) field.blur();
});
