/** Keyboard shortcuts. They are off while somebody types text, or holds Ctrl, Alt or Meta. */

const TEXT_FIELDS = "input:not([type=checkbox]), textarea, select, [contenteditable]";

/**
 * @param {Record<string, () => void>} shortcuts by `KeyboardEvent.key`
 * @param {() => void} [find] runs on Ctrl-F or Cmd-F, instead of the browser's search
 */
export function bindKeys(shortcuts, find) {
  document.addEventListener("keydown", (event) => {
    if (find && (event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && event.key.toLowerCase() === "f") {
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

/** Show the button for the dialog that lists the shortcuts. @returns {() => void} a function that opens or closes it */
export function setUpHelp() {
  const dialog = /** @type {HTMLDialogElement} */ (document.getElementById("keys"));
  const button = /** @type {HTMLElement} */ (document.getElementById("help"));
  const toggle = () => (dialog.open ? dialog.close() : dialog.showModal());
  button.hidden = false;
  button.addEventListener("click", toggle);
  return toggle;
}
