/** Lines as elements. Their HTML is the server's, which has escaped what a stranger wrote. */

/** Characters of HTML from which on a line is cut until somebody wants all of it. */
const LONG = 20_000;
const SHOWN = 8_000;

/**
 * @param {number} row the vertex's
 * @param {number} line from 0
 * @param {string} html
 * @returns {HTMLElement}
 */
export function lineElement(row, line, html) {
  const element = document.createElement("div");
  element.className = "line";
  element.id = `v${row}-L${line + 1}`;
  const number = document.createElement("a");
  number.className = "no";
  number.href = `#${element.id}`;
  number.dataset.no = String(line + 1);
  number.setAttribute("aria-label", `line ${line + 1}`);
  element.append(number, textElement(html));
  return element;
}

/** @param {string} html */
export function textElement(html) {
  const text = document.createElement("span");
  text.className = "text";
  if (html.length <= LONG) {
    text.innerHTML = html;
    return text;
  }
  text.innerHTML = html
    .replace(/<[^>]*>/g, "")
    .slice(0, SHOWN)
    .replace(/&[^;]{0,8}$/, "");
  const more = document.createElement("button");
  more.type = "button";
  more.className = "whole";
  more.textContent = `… the whole line, ${html.length.toLocaleString("en")} characters`;
  more.addEventListener("click", () => {
    text.innerHTML = html;
  });
  text.append(more);
  return text;
}

/** The number of a line's element, from 0. @param {Element} element */
export function lineOf(element) {
  return Number(element.id.slice(element.id.lastIndexOf("L") + 1)) - 1;
}

/** The HTML that the server gave for a line. @param {Element} element */
export function htmlOf(element) {
  return element.querySelector(".text")?.innerHTML ?? "";
}

/**
 * A line's text from one place to another, in UTF-16 code units, as a range of the document.
 * @param {Element} element
 * @param {number} from
 * @param {number} to
 * @returns {Range | null} null if the line has no such places
 */
export function rangeIn(element, from, to) {
  const text = element.querySelector(".text");
  if (!text) return null;
  const range = document.createRange();
  const walker = document.createTreeWalker(text, NodeFilter.SHOW_TEXT);
  let at = 0;
  let begun = false;
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const length = node.textContent?.length ?? 0;
    if (!begun && from < at + length) {
      range.setStart(node, from - at);
      begun = true;
    }
    if (begun && to <= at + length) {
      range.setEnd(node, to - at);
      return range;
    }
    at += length;
  }
  return null;
}
