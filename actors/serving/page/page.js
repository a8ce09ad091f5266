// The live view: send a request, follow one, list all. The address has the id of the shown one.

import * as api from "./api.js";
import { RequestState } from "./state.js";
import { Lanes } from "./lanes.js";
import { element, Panel } from "./panel.js";
import { RequestHistory } from "./history.js";
import * as format from "./text.js";

const LIST_MS = 2500;

const panel = new Panel();
const history = new RequestHistory();
const lanes = new Lanes(element("stage"), (trace) => {
  element("lane-said").textContent = trace ? format.lane(trace) : "Arrow keys tell of each trace.";
});
let offers = [];
let request = null;
let watching = null; // aborts following the shown request
let asking = null; // aborts the request that this page sent

const announce = (text) => (element("said").textContent = text);

function showError(error) {
  const node = element("problem");
  node.hidden = !error;
  node.textContent = error ? error.message : "";
  if (error?.status !== 401) return;
  node.textContent = api.hasKey() ? "This API key is not accepted." : "This server asks for an API key.";
  askForKey();
}

// --- the key --------------------------------------------------------------------------------------

function askForKey() {
  element("key-form").hidden = false;
  element("forget").hidden = true;
  element("key").focus();
}

element("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  api.useKey(element("key").value.trim());
  element("key").value = "";
  begin();
});

element("forget").addEventListener("click", () => {
  api.forgetKey();
  location.replace(location.pathname);
});

// --- asking ---------------------------------------------------------------------------------------

function offer() {
  const known = offers.find((each) => each.id === element("model").value)?.deepprune;
  if (!known) return;
  element("policy").replaceChildren(...known.policies.map((name) => new Option(name, name, false, name === known.policy)));
  element("n").value = known.n;
  element("n").max = known.ceilings.n;
  element("deadline").max = known.ceilings.deadline_s;
  element("deadline").placeholder = known.ceilings.deadline_s;
}

element("model").addEventListener("change", offer);

element("question").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  element("ask").requestSubmit();
});

element("ask").addEventListener("submit", async (event) => {
  event.preventDefault();
  if (asking) return showError(new Error("One question at a time: stop the one that runs, or wait for it."));
  showError(null);
  asking = new AbortController();
  showAsking(true);
  announce("Asked.");
  const deadline = element("deadline").valueAsNumber;
  const body = {
    model: element("model").value,
    messages: [{ role: "user", content: element("question").value }],
    deepprune: {
      policy: element("policy").value,
      n: element("n").valueAsNumber,
      ...(deadline > 0 ? { deadline_s: deadline } : {}),
    },
  };
  try {
    const { id, ended } = await api.ask(body, asking.signal);
    show(id, { question: element("question").value, created: Date.now() / 1000 });
    location.hash = id;
    await ended;
  } catch (error) {
    if (error.name !== "AbortError") showError(error);
  } finally {
    asking = null;
    showAsking(false);
    list();
  }
});

function showAsking(busy) {
  const focused = document.activeElement;
  element("send").hidden = busy;
  element("stop").hidden = !busy;
  if (focused === element(busy ? "send" : "stop")) element(busy ? "stop" : "send").focus();
}

element("stop").addEventListener("click", () => asking?.abort());

// --- the request that is shown --------------------------------------------------------------------

async function show(id, summary = history.find(id)) {
  watching?.abort();
  watching = new AbortController();
  const { signal } = watching;
  request = new RequestState(id);
  element("request").hidden = false;
  lanes.show(request);
  panel.show(request, summary);
  history.show(history.requests, id);
  const shown = request;
  try {
    for await (const event of api.events(id, signal)) {
      shown.take(event);
      changed();
    }
  } catch (error) {
    if (signal.aborted) return;
    showError(error);
    if (!shown.start) element("request").hidden = true;
    return;
  }
  if (signal.aborted) return;
  const { result, status } = shown.end;
  announce(
    result?.answer != null
      ? `Answer: ${format.answer(result.answer)}, with ${format.percent(result.vote_share)} of the votes.`
      : `The request ${status === "failed" ? "failed" : "ended without an answer"}.`,
  );
  list();
}

// Events of many traces arrive together; update the page once a frame.
let due = 0;
function changed() {
  lanes.update();
  due ||= requestAnimationFrame(() => {
    due = 0;
    panel.update();
  });
}

setInterval(() => request && !request.end && panel.update(), 100); // the clock

const wanted = () => location.hash.match(/^#([0-9a-f]{32})$/)?.[1];

addEventListener("hashchange", () => {
  if (!wanted() || wanted() === request?.id) return;
  const chosen = element("past").contains(document.activeElement);
  show(wanted());
  if (chosen) element("request").focus();
});

// --- all requests ---------------------------------------------------------------------------------

let timer = 0;
async function list() {
  clearTimeout(timer);
  try {
    if (!document.hidden) {
      const before = history.requests[0]?.id;
      history.show(await api.requests(), request?.id);
      panel.updateSummary(history.find(request?.id));
      const newest = history.requests[0]?.id;
      if (element("follow").checked && newest !== before && !asking) location.hash = newest;
    }
  } catch (error) {
    if (error.status === 401) return showError(error);
  }
  clearTimeout(timer);
  timer = setTimeout(list, LIST_MS);
}

addEventListener("visibilitychange", () => document.hidden || list());

async function begin() {
  showError(null);
  try {
    offers = await api.models();
  } catch (error) {
    showError(error);
    return;
  }
  element("key-form").hidden = true;
  element("forget").hidden = !api.hasKey();
  element("model").replaceChildren(...offers.map(({ id }) => new Option(id, id)));
  offer();
  element("question").focus();
  await list();
  if (wanted()) show(wanted());
  else if (history.requests.length) show(history.requests[0].id);
}

begin();
