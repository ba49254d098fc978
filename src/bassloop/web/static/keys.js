/** The keyboard. A key is one of these unless somebody types a text, or holds Ctrl, Alt or Meta. */

const TEXT = "input:not([type=checkbox]), textarea, select, [contenteditable]";

/**
 * @param {Record<string, () => void>} actions by key, as events name them
 * @param {() => void} find what Ctrl-F does
 */
export function listen(actions, find) {
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && event.key.toLowerCase() === "f") {
      event.preventDefault();
      find();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (/** @type {Element | null} */ (event.target)?.closest?.(TEXT)) return;
    if (document.querySelector("dialog[open]") && event.key !== "?") return;
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}

/** The dialog that shows the keys. @param {HTMLDialogElement} dialog */
export function toggleKeys(dialog) {
  if (dialog.open) dialog.close();
  else dialog.showModal();
}
