// Text formatting. Text from models is shown as text, on one line where there is room for one.

export const count = (number) => Math.round(number).toLocaleString("en");
export const many = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
export const percent = (share) => `${Math.round(100 * share)}%`;
export const seconds = (value) => (value < 99.95 ? `${value.toFixed(1)} s` : `${count(value)} s`);

export function line(text, limit) {
  const plain = text.replace(/[\p{C}\s]+/gu, " ").trim();
  const letters = [...plain];
  return letters.length <= limit ? plain : `${letters.slice(0, limit - 1).join("")}…`;
}

export const answer = (text, limit = 40) => (text == null ? "–" : line(text, limit) || "–");

const STATES = {
  waiting: "waits for a slot",
  running: "running",
  held: "paused at its checkpoint",
  finished: "finished",
  cut: "cancelled",
  lost: "lost with its engine",
};
export const state = (trace) => STATES[trace.state] + (trace.reason ? ` (${trace.reason})` : "");

export function lane(trace) {
  const parts = [`trace ${trace.sample}`, many(trace.tokens, "token"), state(trace)];
  if (trace.cluster !== null) parts.splice(1, 0, `cluster ${trace.cluster + 1}`);
  if (trace.state === "finished") parts.push(trace.answer === null ? "no answer" : `answers ${answer(trace.answer)}`);
  return parts.join(" · ");
}

export const reasons = {
  deadline: "its time was over",
  max_total_tokens: "its tokens were spent",
  cancelled: "it was cancelled",
  disconnected: "the client left",
  no_answer: "its traces gave no answer to compare",
  failed: "it failed",
};

// Describe all lanes in a sentence or two, for screen readers.
export function lanes(request) {
  const counts = request.counted();
  const told = Object.entries({
    finished: counts.finished,
    cancelled: counts.cut,
    running: counts.running + counts.waiting,
    "paused at their checkpoint": counts.held,
    lost: counts.lost,
  }).filter(([, number]) => number);
  const all = `${request.traces.size} of ${many(request.num, "trace")} launched`;
  const clusters = request.clustered
    ? ` Clusters of ${request.groups().filter(([name]) => name !== null).map(([, traces]) => traces.length).join(", ")}.`
    : "";
  return `${[all, ...told.map(([name, number]) => `${number} ${name}`)].join(", ")}.${clusters}`;
}

export function when(created) {
  const date = new Date(created * 1000);
  const today = date.toDateString() === new Date().toDateString();
  return date.toLocaleString([], today ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" });
}
