/**
 * The reader's display preferences. The server reads them from a cookie and puts them on the root element;
 * here both are changed.
 */

const YEAR = 365 * 24 * 3600;
const root = document.documentElement;

/** The values of each preference, in the order in which a key cycles through them. */
const VALUES = {
  scheme: ["system", "light", "dark"],
  wrap: ["auto", "yes", "no"],
  times: ["none", "relative", "absolute"],
  internal: ["hidden", "shown"],
};

/** @typedef {keyof VALUES | "theme"} Name */

/** The event that the document gets when a preference has changed; its detail is the name. */
export const PREFERENCE_CHANGED = "preference-changed";

/** @param {Name} name */
export function preference(name) {
  return root.dataset[name] ?? "";
}

/** @param {Name} name @param {string} value */
export function setPreference(name, value) {
  root.dataset[name] = value;
  const parts = Object.keys({ theme: [], ...VALUES }).map((each) => `${each}-${root.dataset[each]}`);
  const secure = location.protocol === "https:" ? "; secure" : "";
  document.cookie = `looks=${parts.join(".")}; path=/; max-age=${YEAR}; samesite=lax${secure}`;
  document.dispatchEvent(new CustomEvent(PREFERENCE_CHANGED, { detail: name }));
}

/** Switch to the next value, and return it. @param {keyof VALUES} name @returns {string} */
export function cyclePreference(name) {
  const values = VALUES[name];
  const value = values[(values.indexOf(preference(name)) + 1) % values.length];
  setPreference(name, value);
  return value;
}

/** Return whether long lines are wrapped. */
export function wrapsLines() {
  return preference("wrap") === "yes" || (preference("wrap") === "auto" && matchMedia("(max-width: 700px)").matches);
}
