// Client of the endpoint API. The key is kept for this tab, and sent to this server only.

const KEY = "deepprune-key";

export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

export const hasKey = () => sessionStorage.getItem(KEY) !== null;
export const useKey = (key) => sessionStorage.setItem(KEY, key);
export const forgetKey = () => sessionStorage.removeItem(KEY);

async function call(path, options = {}) {
  const headers = { ...options.headers };
  if (hasKey()) headers.Authorization = `Bearer ${sessionStorage.getItem(KEY)}`;
  let response;
  try {
    response = await fetch(path, { ...options, headers, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "The server cannot be reached.");
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => null);
  throw new ApiError(response.status, body?.error?.message ?? `The server said ${response.status}.`);
}

const listed = async (path) => (await (await call(path)).json()).data;
export const models = () => listed("v1/models");
export const requests = () => listed("v1/deepprune/requests");

// Start a request. Return its id, and the promise `ended` of the end of the response.
export async function ask(body, signal) {
  const response = await call("v1/chat/completions", {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...body, stream: true }),
    signal,
  });
  const ended = (async () => {
    for await (const { data } of messages(response))
      if (data !== "[DONE]" && data.includes('"error"')) {
        const { error } = JSON.parse(data);
        if (error) throw new ApiError(response.status, error.message);
      }
  })();
  return { id: response.headers.get("x-deepprune-request-id"), ended };
}

// Yield the events of a request up to its end; reconnect when a connection breaks.
export async function* events(id, signal) {
  let last = null;
  for (let failures = 0; ; ) {
    try {
      const headers = last === null ? {} : { "Last-Event-ID": last };
      const path = `v1/deepprune/requests/${encodeURIComponent(id)}/events`;
      for await (const message of messages(await call(path, { headers, signal }))) {
        const event = JSON.parse(message.data);
        if (event.error) throw new ApiError(0, event.error.message);
        if (message.id !== null) last = message.id;
        failures = 0;
        yield event;
        if (event.type === "end") return;
      }
    } catch (error) {
      // A request appears in the history a moment after its start, and connections break.
      const passing = error instanceof ApiError ? [0, 404, 503].includes(error.status) : error instanceof TypeError;
      if (!passing || ++failures > (error.status === 404 ? 4 : 8)) throw error;
    }
    await new Promise((resume) => setTimeout(resume, 150 * 2 ** Math.min(failures, 4)));
    if (signal.aborted) return;
  }
}

// Yield the server-sent events of a response: {id, data}.
async function* messages(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (text + value).split("\n\n");
      text = blocks.pop();
      for (const block of blocks) {
        const fields = { id: null, data: null };
        for (const line of block.split("\n")) {
          const colon = line.indexOf(": ");
          if (colon > 0) fields[line.slice(0, colon)] = line.slice(colon + 2);
        }
        if (fields.data !== null) yield fields;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
