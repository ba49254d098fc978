/**
 * How pages look to this reader: the root element says it from the page's first byte on, since the server
 * has it from a cookie. Here it is changed, in both places.
 */

const YEAR = 365 * 24 * 3600;
const root = document.documentElement;

/** What may be chosen, in the order in which a key goes through it. */
const CHOICES = {
  scheme: ["system", "light", "dark"],
  wrap: ["auto", "yes", "no"],
  times: ["none", "relative", "absolute"],
  internal: ["hidden", "shown"],
};

/** @typedef {keyof CHOICES | "theme"} Name */

/** Sent to the document when a choice was made; its detail is the choice's name. */
export const CHANGED = "looks-changed";

/** @param {Name} name */
export function look(name) {
  return root.dataset[name] ?? "";
}

/** @param {Name} name @param {string} value */
export function choose(name, value) {
  root.dataset[name] = value;
  const kept = Object.entries({ theme: [], ...CHOICES }).map(([each]) => `${each}-${root.dataset[each]}`);
  const secure = location.protocol === "https:" ? "; secure" : "";
  document.cookie = `looks=${kept.join(".")}; path=/; max-age=${YEAR}; samesite=lax${secure}`;
  document.dispatchEvent(new CustomEvent(CHANGED, { detail: name }));
}

/** Choose what comes after. @param {keyof CHOICES} name @returns {string} */
export function chooseNext(name) {
  const values = CHOICES[name];
  const value = values[(values.indexOf(look(name)) + 1) % values.length];
  choose(name, value);
  return value;
}

/** Whether long lines are wrapped now. */
export function wraps() {
  return look("wrap") === "yes" || (look("wrap") === "auto" && matchMedia("(max-width: 700px)").matches);
}
