/** Keyboard shortcuts. They are off while somebody types text, or holds Ctrl, Alt or Meta. */

const TEXT_FIELDS = "input:not([type=checkbox]), textarea, select, [contenteditable]";

/**
 * @param {Record<string, () => void>} shortcuts by `KeyboardEvent.key`
 * @param {() => void} find runs on Ctrl-F or Cmd-F
 */
export function bindKeys(shortcuts, find) {
  document.addEventListener("keydown", (event) => {
    if ((event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && event.key.toLowerCase() === "f") {
      event.preventDefault();
      find();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (/** @type {Element | null} */ (event.target)?.closest?.(TEXT_FIELDS)) return;
    if (document.querySelector("dialog[open]") && event.key !== "?") return;
    const shortcut = shortcuts[event.key];
    if (!shortcut) return;
    event.preventDefault();
    shortcut();
  });
}

/** Open or close the dialog that lists the shortcuts. @param {HTMLDialogElement} dialog */
export function toggleHelp(dialog) {
  if (dialog.open) dialog.close();
  else dialog.showModal();
}
