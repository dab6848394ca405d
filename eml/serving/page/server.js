// Requests to the server that this page comes from, with the key of this tab, and its errors in plain words.

const KEY = "eml-key";
const PATIENCE = 90_000; // milliseconds for an answer
const UNKNOWN_KEY = "The server does not know this key.";
const MOST_TRIES = 6; // of a request that the server has no room for

export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (text) => sessionStorage.setItem(KEY, text),
  forget: () => sessionStorage.removeItem(KEY),
};

/** An error of the server, or of the way to it; `message` is for people. */
export class ServerError extends Error {
  constructor(message, { status = 0, code = "", wait = null } = {}) {
    super(message);
    Object.assign(this, { status, code, wait });
  }
}

/** Return a response. Throws a ServerError for any that is no success. */
export async function request(path, { method = "GET", body = null, own = key.get() } = {}) {
  if (own && !/^[\x21-\x7e]+$/.test(own)) throw new ServerError(UNKNOWN_KEY, { status: 401 }); // no header can carry it
  const headers = own ? { Authorization: `Bearer ${own}` } : {};
  let response;
  try {
    response = await fetch(path, { method, body, headers, signal: AbortSignal.timeout(PATIENCE) });
  } catch (error) {
    const seconds = PATIENCE / 1000;
    throw new ServerError(
      error.name === "TimeoutError"
        ? `The server did not answer within ${seconds} s. It may be overloaded.`
        : "The server does not answer. It may have been stopped, or the network is gone.",
    );
  }
  if (response.ok) return response;
  throw await errorOf(response);
}

/** Return what a request gives as JSON. While the server is busy it is asked again, as late as the server says. */
export async function ask(path, options = {}, onWait = () => {}) {
  for (let tries = 1; ; tries++) {
    try {
      return await (await request(path, options)).json();
    } catch (error) {
      if (error.wait === null || error.wait === undefined || tries >= MOST_TRIES) throw error;
      for (let left = Math.min(60, Math.max(1, Math.ceil(error.wait))); left > 0; left--) {
        onWait(error, left);
        await new Promise((done) => setTimeout(done, 1000));
      }
      onWait(null, 0);
    }
  }
}

async function errorOf(response) {
  const status = response.status, said = await saidBy(response);
  const code = said.code || "";
  const wait = [429, 503].includes(status) ? Number(response.headers.get("Retry-After") || 2) : null;
  const words = {
    401: key.get() ? UNKNOWN_KEY : "The server asks for a key.",
    403: "This key may not do that. Ask whoever runs the server for one that may.",
    408: "The image took too long to arrive. Try again with a faster connection or a smaller file.",
    413: "The file is too large for this server.",
    429: /rate/.test(code) ? "This key has asked too often for now." : "The server is busy.",
    503: "The server has no answer just now: it is starting, stopping or busy.",
    504: "The server needed too long. It may be busy; try again.",
  }[status];
  const text = words || said.message || `The server failed (${status}). Its log says why.`;
  return new ServerError(text, { status, code, wait: Number.isFinite(wait) ? wait : 2 * (wait !== null) || null });
}

/** Return `code` and `message` of an error's body, as far as it has them. */
async function saidBy(response) {
  try {
    const { error } = await response.json();
    return { code: String(error.code ?? ""), message: typeof error.message === "string" ? error.message : "" };
  } catch {
    return { code: "", message: "" };
  }
}
