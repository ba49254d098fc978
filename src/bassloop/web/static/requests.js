/** Requests that a bad moment of the network or the server doesn't lose: bounded in time, and repeated. */

/** Milliseconds to wait before each try. */
const PAUSES = [0, 500, 2_000, 5_000];

/** Milliseconds after which an answer is no longer waited for. */
const PATIENCE = 10_000;

/**
 * Get a small answer of the loop. Returns null if it could not be had after several tries; an answer that says
 * that something is wrong with the request is returned at once.
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
