// The list of running and past requests. Each is a link with its id in the address.

import { element, make } from "./panel.js";
import * as format from "./text.js";

function facts(request) {
  const facts = [format.when(request.created), request.model, `${request.policy}, ${request.n}`];
  if (request.savings != null) facts.push(`${format.percent(request.savings)} saved`);
  if (request.wall_s != null) facts.push(format.seconds(request.wall_s));
  return facts.join(" · ");
}

function link(request) {
  const result = ["queued", "running"].includes(request.status) ? "…" : format.answer(request.answer, 16);
  const node = make(
    "a",
    "",
    make("span", `state ${request.status}`, request.status),
    make("bdi", "what", format.line(request.question, 200)),
    make("bdi", "result", result),
    make("span", "quiet", facts(request)),
  );
  node.href = `#${request.id}`;
  return node;
}

export class RequestHistory {
  constructor() {
    this.requests = [];
    this.nodes = new Map(); // id: {said, node}
  }

  find(id) {
    return this.requests.find((request) => request.id === id);
  }

  show(requests, current) {
    this.requests = requests;
    element("no-past").hidden = requests.length > 0;
    const nodes = requests.map((request) => {
      const said = JSON.stringify(request);
      let known = this.nodes.get(request.id);
      if (known?.said !== said) {
        if (!known) known = { node: make("li") };
        const focused = known.node.contains(document.activeElement);
        known.said = said;
        known.node.replaceChildren(link(request));
        if (focused) known.node.firstChild.focus();
      }
      known.node.firstChild.ariaCurrent = request.id === current ? "true" : null;
      this.nodes.set(request.id, known);
      return known.node;
    });
    const list = element("past");
    const kept = new Set(nodes);
    for (const node of [...list.children]) if (!kept.has(node)) node.remove();
    // Move only nodes that are out of place: a link keeps its focus.
    nodes.forEach((node, index) => {
      if (list.children[index] !== node) list.insertBefore(node, list.children[index] ?? null);
    });
    for (const id of this.nodes.keys()) if (!this.find(id)) this.nodes.delete(id);
  }
}
