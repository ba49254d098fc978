/** Scrolling that the page does by itself, told from the reader's. */

let ours = -1;

/** @param {number} pixels down */
export function scrollDown(pixels) {
  window.scrollBy({ top: pixels, behavior: "instant" });
  ours = window.scrollY;
}

/** @param {Element} element @param {ScrollLogicalPosition} block where on the screen it is to be */
export function bring(element, block) {
  element.scrollIntoView({ block, behavior: "instant" });
  ours = window.scrollY;
}

/** Whether the page is where its own scrolling has left it. */
export function isOurs() {
  return Math.abs(window.scrollY - ours) <= 2;
}
