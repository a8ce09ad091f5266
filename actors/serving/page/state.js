// The state of a request, computed from its events.

export const OTHER = 8; // the colour of traces beyond the palette or without a cluster
const RANK = { finished: 0, running: 1, held: 2, waiting: 3, cut: 4, lost: 5 };
const OVER = new Set(["finished", "cut", "lost"]);

export class RequestState {
  constructor(id) {
    this.id = id;
    this.start = null; // the event
    this.end = null;
    this.t = 0;
    this.began = Infinity; // by the page's clock
    this.traces = new Map(); // sample: {sample, state, tokens, checkpoint, cluster, answer, reason}
    this.votes = []; // the leading answers
    this.numVotes = 0;
    this.numAnswers = 0;
    this.version = 0;
    this.clustered = false;
    this.colours = new Map(); // of answers, where there are no clusters
  }

  // States: "waiting", "running", "held" at its checkpoint, "finished", "cut", "lost".
  take(event) {
    this.version += 1;
    if (event.t !== undefined) {
      this.t = event.t;
      this.began = Math.min(this.began, performance.now() - 1000 * event.t);
    }
    const trace = event.sample === undefined ? null : this.#trace(event.sample);
    if (trace && event.tokens !== undefined) trace.tokens = event.tokens;
    switch (event.type) {
      case "start":
        this.start = event;
        break;
      case "progress":
        this.#grow(event.tokens);
        break;
      case "checkpoint":
        trace.checkpoint = event.tokens;
        trace.state = "held";
        break;
      case "cluster":
        trace.cluster = event.cluster;
        this.clustered = true;
        break;
      case "resume":
        trace.state = "running";
        break;
      case "cut":
        trace.state = "cut";
        trace.reason = event.reason;
        break;
      case "finish":
        trace.state = "finished";
        trace.answer = event.answer;
        break;
      case "lost":
        trace.state = "lost";
        break;
      case "vote":
        this.#count(event.votes, event.num_votes, event.num_answers);
        break;
      case "end":
        this.end = event;
        for (const [sample, tokens] of Object.entries(event.tokens ?? {}))
          this.#trace(Number(sample)).tokens = tokens;
        for (const each of this.traces.values())
          if (!OVER.has(each.state)) each.state = "cut";
        if (event.result) {
          const { votes } = event.result;
          const numVotes = votes.reduce((sum, vote) => sum + vote.count, 0);
          this.#count(votes, numVotes, votes.length);
        }
    }
  }

  get num() {
    return Math.max(this.start?.n ?? 0, this.traces.size);
  }

  // Seconds since the request started.
  elapsed() {
    return this.end || !this.start ? this.t : (performance.now() - this.began) / 1000;
  }

  counted() {
    const counts = { waiting: 0, running: 0, held: 0, finished: 0, cut: 0, lost: 0 };
    for (const trace of this.traces.values()) counts[trace.state] += 1;
    return counts;
  }

  // Tokens by the state of their traces. `expected` estimates the tokens of all n traces at the mean
  // length of finished ones; `saved` is the share of it that cancelled traces did not generate.
  bill() {
    const bill = { voted: 0, pruned: 0, open: 0, all: 0, expected: null, saved: null };
    for (const { state, tokens } of this.traces.values()) {
      bill.all += tokens;
      bill[state === "finished" ? "voted" : OVER.has(state) ? "pruned" : "open"] += tokens;
    }
    const counts = this.counted();
    if (bill.voted) {
      const mean = bill.voted / counts.finished;
      bill.expected = this.num * mean;
      bill.saved = Math.max(0, ((counts.cut + counts.lost) * mean - bill.pruned) / bill.expected);
    }
    if (this.end) bill.saved = this.end.result?.savings ?? null;
    return bill;
  }

  // Groups of traces by cluster, or by answer without clusters: [name, traces], largest first, then
  // traces without one. Finished traces come first in a group.
  groups() {
    const groups = new Map();
    for (const trace of this.traces.values()) {
      const name = this.clustered ? trace.cluster : trace.answer;
      if (!groups.has(name)) groups.set(name, []);
      groups.get(name).push(trace);
    }
    const ended = (trace) => (["running", "waiting"].includes(trace.state) ? 0 : trace.tokens);
    for (const traces of groups.values())
      traces.sort(
        (a, b) => RANK[a.state] - RANK[b.state] || ended(b) - ended(a) || a.sample - b.sample,
      );
    const first = ([, traces]) => Math.min(...traces.map((trace) => trace.sample));
    return [...groups].sort(
      (a, b) => (a[0] === null) - (b[0] === null) || b[1].length - a[1].length || first(a) - first(b),
    );
  }

  colour(trace) {
    if (this.clustered) return trace.cluster === null ? OTHER : Math.min(trace.cluster, OTHER);
    return this.colours.get(trace.answer) ?? OTHER;
  }

  // The votes for an answer by colour: [colour, count], most first.
  parts(vote) {
    const parts = new Map();
    for (const trace of this.traces.values())
      if (trace.state === "finished" && trace.answer === vote.answer) {
        const colour = this.colour(trace);
        parts.set(colour, (parts.get(colour) ?? 0) + 1);
      }
    const sorted = [...parts].sort((a, b) => b[1] - a[1]);
    // Votes for the same answer in other format, and those told before their traces.
    const rest = vote.count - sorted.reduce((sum, [, count]) => sum + count, 0);
    if (rest > 0 && sorted.length) sorted[0][1] += rest;
    return sorted.length ? sorted : [[this.colours.get(vote.answer) ?? OTHER, vote.count]];
  }

  #trace(sample) {
    let trace = this.traces.get(sample);
    if (!trace) {
      trace = { sample, state: "waiting", tokens: 0, checkpoint: null, cluster: null, answer: null, reason: null };
      this.traces.set(sample, trace);
    }
    return trace;
  }

  #grow(tokens) {
    for (const [sample, count] of Object.entries(tokens)) {
      const trace = this.#trace(Number(sample));
      if (OVER.has(trace.state)) continue;
      trace.tokens = Math.max(trace.tokens, count);
      if (trace.state === "waiting" || trace.tokens > (trace.checkpoint ?? Infinity)) trace.state = "running";
    }
  }

  #count(votes, numVotes, numAnswers) {
    Object.assign(this, { votes, numVotes, numAnswers });
    for (const { answer } of votes)
      if (!this.colours.has(answer)) this.colours.set(answer, Math.min(this.colours.size, OTHER));
  }
}
