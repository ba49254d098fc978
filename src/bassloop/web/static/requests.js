/** Requests with a timeout, repeated if the network or the server fails. */

/** Milliseconds to wait before each try. */
const PAUSES = [0, 500, 2_000, 5_000];

/** Timeout in milliseconds. */
const PATIENCE = 10_000;

/**
 * Fetch a small response. Returns null if several attempts fail. A response to a faulty request is returned at
 * once.
 * @param {string} url
 * @param {RequestInit} [options]
 * @returns {Promise<Response | null>}
 */
export async function get(url, options) {
  for (const pause of PAUSES) {
    if (pause) await new Promise((done) => setTimeout(done, pause));
    const response = await fetch(url, { ...options, signal: AbortSignal.timeout(PATIENCE) }).catch(() => null);
    if (response && response.status < 500 && response.status !== 429) return response;
  }
  return null;
}
