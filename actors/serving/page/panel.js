// The panel of the shown request: numbers, votes, tokens, answer, table.

import * as format from "./text.js";

const SHOWN_VOTES = 8;
const SLOW_MS = 1000; // between two updates of the table and the description

export const element = (id) => document.getElementById(id);

export function make(tag, className, ...children) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

function put(id, text, small = "") {
  const node = element(id);
  const key = `${text}\n${small}`;
  if (node.dataset.said === key) return;
  node.dataset.said = key;
  node.replaceChildren(text, ...(small ? [make("small", "", small)] : []));
}

export class Panel {
  constructor() {
    this.bars = new Map(); // answer: its row
    element("table-details").addEventListener("toggle", () => this.#table(true));
  }

  show(request, summary) {
    this.request = request;
    this.summary = summary;
    this.bars.clear();
    this.version = -1;
    this.slowly = 0;
    element("votes").replaceChildren();
    element("text").textContent = "";
    element("text-section").hidden = true;
    this.update();
  }

  // Show a newer summary from the request history.
  updateSummary(summary) {
    if (!summary || JSON.stringify(summary) === JSON.stringify(this.summary)) return;
    this.summary = summary;
    this.version = -1;
    this.update();
  }

  update() {
    const { request } = this;
    if (!request) return;
    put("time", format.seconds(request.end?.result?.wall_s ?? request.elapsed()));
    if (this.version === request.version) return;
    this.version = request.version;
    this.#numbers();
    this.#votes();
    this.#bill();
    if (request.end) this.#text();
    const now = performance.now();
    if (request.end || now > this.slowly + SLOW_MS) {
      this.slowly = now;
      element("lanes-said").textContent = format.lanes(request);
      this.#table(false);
    }
  }

  #numbers() {
    const { request, summary } = this;
    const { end, start } = request;
    const status = end?.status ?? "running";
    element("asked").textContent = format.line(summary?.question ?? "", 300) || "A request";
    element("state").textContent = status;
    element("state").className = `state ${status}`;
    const why = format.reasons[end?.stop_reason];
    element("about").textContent = [why, start?.model, start?.policy, summary && format.when(summary.created)]
      .filter(Boolean)
      .join(" · ");
    const [leader] = request.votes;
    put("answer", format.answer(end?.result ? end.result.answer : leader?.answer, 24), end || !leader ? "" : "leads so far");
    put("share", leader ? format.percent(leader.share) : "–", leader ? `${leader.count} of ${format.many(request.numVotes, "vote")}` : "");
    const counts = request.counted();
    const busy = counts.running + counts.held + counts.waiting;
    put("traces", format.count(request.traces.size), `of ${request.num}` + (busy ? `, ${busy} at work` : `, ${counts.finished} finished`));
    const bill = request.bill();
    const spent = end?.usage?.deepprune;
    put("tokens", format.count(spent?.generated_tokens ?? bill.all), spent?.judge_tokens ? `and ${format.count(spent.judge_tokens)} judged` : "generated");
    put("saved", bill.saved === null ? "–" : format.percent(bill.saved), bill.saved === null ? "" : end ? "an estimate" : "so far");
  }

  #votes() {
    const { request } = this;
    const list = element("votes");
    const shown = request.votes.slice(0, SHOWN_VOTES);
    const most = Math.max(1, ...shown.map((vote) => vote.count));
    const full = [10, 20, 50, 100, 200].find((size) => size >= most) ?? most;
    element("no-votes").hidden = shown.length > 0;
    const rows = shown.map((vote) => {
      const row = this.bars.get(vote.answer) ?? this.#voteRow(vote.answer);
      const parts = request.parts(vote);
      while (row.bar.children.length < parts.length) row.bar.append(make("i"));
      [...row.bar.children].forEach((part, index) => {
        const [colour, count] = parts[index] ?? [8, 0];
        part.style.background = `var(--a${colour})`;
        part.style.width = `${(100 * count) / full}%`;
      });
      row.count.textContent = vote.count;
      return row.node;
    });
    if (rows.some((node, index) => list.children[index] !== node) || list.children.length !== rows.length)
      list.replaceChildren(...rows);
    const more = request.numAnswers - shown.length;
    if (more > 0) list.append(make("li", "quiet", `and ${format.many(more, "answer")} more`));
  }

  #voteRow(answer) {
    const row = { bar: make("span", "bar"), count: make("span", "count") };
    const name = make("bdi", "", format.answer(answer));
    name.title = answer;
    row.node = make("li", "", name, row.bar, row.count, make("span", "unseen", " votes"));
    this.bars.set(answer, row);
    return row;
  }

  #bill() {
    const { request } = this;
    const bill = request.bill();
    const longest = Math.max(1, ...[...request.traces.values()].map((trace) => trace.tokens));
    const whole = Math.max(bill.expected ?? request.num * longest, bill.all);
    for (const part of element("bill").children)
      part.style.width = `${(100 * bill[part.className]) / whole}%`;
    const parts = [`${format.count(bill.voted)} by traces that finished`, `${format.count(bill.pruned)} by cancelled ones`];
    if (bill.open) parts.push(`${format.count(bill.open)} by those at work`);
    if (bill.expected) parts.push(`${format.many(request.num, "whole trace")} would take about ${format.count(bill.expected)}`);
    element("bill-said").textContent = `${parts.join("; ")}.`;
    element("bill").setAttribute("aria-label", parts.join("; "));
  }

  #text() {
    const { content, reasoning_content: thought } = this.request.end;
    element("text").textContent = content ?? "";
    element("text").hidden = !content;
    element("thought").textContent = thought ?? "";
    element("thought-details").hidden = !thought;
    element("text-section").hidden = !content && !thought;
  }

  #table(opened) {
    if (!this.request || !element("table-details").open) return;
    if (!opened && !this.request.end && element("rows").contains(document.activeElement)) return;
    const rows = this.request.groups().flatMap(([, traces]) => traces).map((trace) => {
      const cells = [
        format.state(trace),
        trace.cluster === null ? "–" : trace.cluster + 1,
        format.count(trace.tokens),
        trace.state === "finished" ? format.answer(trace.answer) : "",
      ];
      const head = make("th", "", String(trace.sample));
      head.scope = "row";
      return make("tr", "", head, ...cells.map((text) => make("td", "", String(text))));
    });
    element("rows").replaceChildren(...rows);
  }
}
