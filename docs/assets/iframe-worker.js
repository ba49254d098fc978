// Browsers start no worker for a page that is opened from a file. There, a hidden frame runs the search's script.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    #frame = document.createElement("iframe");
    #loaded;

    /** @param {string | URL} url */
    constructor(url) {
      super();
      const script = new URL(url, document.baseURI).href.replaceAll("&", "&amp;").replaceAll('"', "&quot;");
      this.#frame.hidden = true;
      this.#frame.srcdoc = `<script>window.postMessage = (data) => parent.postMessage(data, "*");</script><script src="${script}"></script>`;
      this.#loaded = new Promise((resolve) => this.#frame.addEventListener("load", resolve, { once: true }));
      window.addEventListener("message", (event) => {
        if (event.source === this.#frame.contentWindow) this.dispatchEvent(new MessageEvent("message", { data: event.data }));
      });
      document.body.append(this.#frame);
    }

    /** @param {any} data */
    postMessage(data) {
      this.#loaded.then(() => {
        const frame = this.#frame.contentWindow;
        frame?.dispatchEvent(new MessageEvent("message", { data }));
      });
    }
  };
}
