// Everything about the request that is shown, beside its lanes: numbers, votes, answer, table.

import * as words from "./text.js";

const SHOWN_VOTES = 8;
const SLOW_MS = 1000; // between two versions of what is long to read

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

  show(course, summary) {
    this.course = course;
    this.summary = summary;
    this.bars.clear();
    this.version = -1;
    this.slowly = 0;
    element("votes").replaceChildren();
    element("text").textContent = "";
    element("text-section").hidden = true;
    this.update();
  }

  // The list knows more of the request by now.
  told(summary) {
    if (!summary || JSON.stringify(summary) === JSON.stringify(this.summary)) return;
    this.summary = summary;
    this.version = -1;
    this.update();
  }

  update() {
    const { course } = this;
    if (!course) return;
    put("time", words.seconds(course.end?.result?.wall_s ?? course.elapsed()));
    if (this.version === course.version) return;
    this.version = course.version;
    this.#numbers();
    this.#votes();
    this.#bill();
    if (course.end) this.#text();
    const now = performance.now();
    if (course.end || now > this.slowly + SLOW_MS) {
      this.slowly = now;
      element("lanes-said").textContent = words.lanes(course);
      this.#table(false);
    }
  }

  #numbers() {
    const { course, summary } = this;
    const { end, start } = course;
    const status = end?.status ?? "running";
    element("asked").textContent = words.line(summary?.question ?? "", 300) || "A request";
    element("state").textContent = status;
    element("state").className = `state ${status}`;
    const why = words.reasons[end?.stop_reason];
    element("about").textContent = [why, start?.model, start?.policy, summary && words.when(summary.created)]
      .filter(Boolean)
      .join(" · ");
    const [leader] = course.votes;
    const votes = course.votes.reduce((sum, vote) => sum + vote.count, 0);
    put("answer", words.answer(end?.result ? end.result.answer : leader?.answer, 24), end || !leader ? "" : "leads so far");
    put("share", leader ? words.percent(leader.share) : "–", leader ? `${leader.count} of ${words.many(votes, "vote")}` : "");
    const counts = course.counted();
    const busy = counts.running + counts.held + counts.waiting;
    put("traces", words.count(course.traces.size), `of ${course.num}` + (busy ? `, ${busy} at work` : `, ${counts.finished} finished`));
    const bill = course.bill();
    const spent = end?.usage?.deepprune;
    put("tokens", words.count(spent?.generated_tokens ?? bill.all), spent?.judge_tokens ? `and ${words.count(spent.judge_tokens)} judged` : "generated");
    put("saved", bill.saved === null ? "–" : words.percent(bill.saved), bill.saved === null ? "" : end ? "an estimate" : "so far");
  }

  #votes() {
    const { course } = this;
    const list = element("votes");
    const shown = course.votes.slice(0, SHOWN_VOTES);
    const most = Math.max(1, ...shown.map((vote) => vote.count));
    const full = [10, 20, 50, 100, 200].find((size) => size >= most) ?? most;
    element("no-votes").hidden = shown.length > 0;
    const rows = shown.map((vote) => {
      const row = this.bars.get(vote.answer) ?? this.#voteRow(vote.answer);
      const parts = course.parts(vote);
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
    const more = course.votes.length - shown.length;
    if (more > 0) list.append(make("li", "quiet", `and ${words.many(more, "answer")} more`));
  }

  #voteRow(answer) {
    const row = { bar: make("span", "bar"), count: make("span", "count") };
    const name = make("bdi", "", words.answer(answer));
    name.title = answer;
    row.node = make("li", "", name, row.bar, row.count, make("span", "unseen", " votes"));
    this.bars.set(answer, row);
    return row;
  }

  #bill() {
    const { course } = this;
    const bill = course.bill();
    const longest = Math.max(1, ...[...course.traces.values()].map((trace) => trace.tokens));
    const whole = Math.max(bill.expected ?? course.num * longest, bill.all);
    for (const part of element("bill").children)
      part.style.width = `${(100 * bill[part.className]) / whole}%`;
    const parts = [`${words.count(bill.voted)} by traces that finished`, `${words.count(bill.pruned)} by cancelled ones`];
    if (bill.open) parts.push(`${words.count(bill.open)} by those at work`);
    if (bill.expected) parts.push(`${words.many(course.num, "whole trace")} would take about ${words.count(bill.expected)}`);
    element("bill-said").textContent = `${parts.join("; ")}.`;
    element("bill").setAttribute("aria-label", parts.join("; "));
  }

  #text() {
    const { content } = this.course.end;
    element("text").textContent = content ?? "";
    element("text-section").hidden = !content;
  }

  #table(opened) {
    if (!this.course || !element("table-details").open) return;
    if (!opened && !this.course.end && element("rows").contains(document.activeElement)) return;
    const rows = this.course.groups().flatMap(([, traces]) => traces).map((trace) => {
      const cells = [
        words.state(trace),
        trace.cluster === null ? "–" : trace.cluster + 1,
        words.count(trace.tokens),
        trace.state === "finished" ? words.answer(trace.answer) : "",
      ];
      const head = make("th", "", String(trace.sample));
      head.scope = "row";
      return make("tr", "", head, ...cells.map((text) => make("td", "", String(text))));
    });
    element("rows").replaceChildren(...rows);
  }
}
