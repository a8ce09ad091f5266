(() => {
  const SAMPLE = 0, TOKENS = 1, WHOLE = 2, FATE = 3, REASON = 4, ANSWER = 5, TEXT = 6, MARK = 7, CUT = 8;
  const reader = document.getElementById("reader");
  let open = null; // the trace in the reader: {data, variant, lanes, at}

  function make(tag, options, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(options || {})) {
      if (name === "style") Object.assign(node.style, value);
      else if (name in node && name !== "list") node[name] = value;
      else node.setAttribute(name, value);
    }
    node.append(...children.filter((child) => child !== null));
    return node;
  }

  async function unpack(text) {
    const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return JSON.parse(await new Response(stream).text());
  }

  const count = (number) => Math.round(number).toLocaleString("en");
  const many = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
  const sizeOf = (text) =>
    typeof text === "string" ? text.length : text.head.length + text.omitted + text.tail.length;

  function rankAnswers(data) {
    const votes = new Map();
    for (const variant of data.variants)
      for (const group of variant.groups)
        for (const lane of group.lanes)
          if (lane[ANSWER] >= 0) votes.set(lane[ANSWER], (votes.get(lane[ANSWER]) || 0) + 1);
    const ranked = [...votes.keys()].sort((a, b) => votes.get(b) - votes.get(a));
    data.colours = new Map(ranked.map((answer, rank) => [answer, `var(--a${Math.min(rank, 8)})`]));
  }

  const colourOf = (data, answer) => data.colours.get(answer) || "var(--a8)";

  function answerOf(lane, data) {
    if (lane[ANSWER] < 0) return lane[FATE] === 0 ? "no answer" : "answer unknown";
    const said = data.answers[lane[ANSWER]];
    return lane[FATE] === 0 ? `answers ${said}` : `would have answered ${said}`;
  }

  function endOf(lane, data) {
    const reason = data.reasons[lane[REASON]];
    return FATES[lane[FATE]] + (reason && reason !== FATES[lane[FATE]] ? ` (${reason})` : "");
  }

  function describe(lane, data) {
    return `sample ${lane[SAMPLE]}: ${many(lane[TOKENS], "token")}, ${endOf(lane, data)}, ${answerOf(lane, data)}`;
  }

  function laneButton(lane, shade, data, longest) {
    const at = (tokens) => `${(100 * tokens) / longest}%`;
    const track = make("span", { className: "track" });
    if (lane[WHOLE] > lane[TOKENS])
      track.append(
        make("span", {
          className: "ungenerated",
          style: { left: at(lane[TOKENS]), width: at(lane[WHOLE] - lane[TOKENS]) },
        }),
      );
    const finished = lane[FATE] === 0;
    track.append(
      make("span", {
        className: finished ? "bar" : "bar unfinished",
        style: { width: at(lane[TOKENS]), background: shade },
      }),
    );
    if (lane[MARK] >= 0 && lane[TEXT] >= 0) {
      const size = Math.max(1, sizeOf(data.texts[lane[TEXT]]));
      const tokens = Math.min(lane[TOKENS], (lane[WHOLE] * lane[MARK]) / size);
      if (tokens < lane[TOKENS] * 0.995)
        track.append(make("span", { className: "checkpoint", style: { left: at(tokens) } }));
    }
    if (!finished) track.append(make("span", { className: "cancelled", style: { left: at(lane[TOKENS]) } }));
    const text = describe(lane, data);
    const readable = lane[TEXT] >= 0;
    return make(
      "button",
      { type: "button", className: "lane", title: text, "aria-label": readable ? `${text}; read it` : text },
      make("span", { className: "sample" }, String(lane[SAMPLE])),
      track,
    );
  }

  function groupSection(group, variant, data, longest, lanes) {
    const finished = group.lanes.filter((lane) => lane[FATE] === 0);
    const heard = finished.find((lane) => lane[ANSWER] >= 0);
    const list = make("ol", { className: "lanes" });
    for (const lane of group.lanes) {
      const answer = lane[ANSWER] >= 0 ? lane[ANSWER] : lane[FATE] !== 0 && heard ? heard[ANSWER] : -1;
      const button = laneButton(lane, colourOf(data, answer), data, longest);
      const at = lanes.push(lane) - 1;
      button.addEventListener("click", () => read({ data, variant, lanes, at }));
      list.append(make("li", {}, button));
    }
    const spent = group.lanes.reduce((sum, lane) => sum + lane[TOKENS], 0);
    let title = `${group.name}: ${many(group.lanes.length, "trace")}`;
    if (finished.length < group.lanes.length) title += `, ${finished.length} finished`;
    return make("section", {}, make("h4", {}, `${title}, ${many(spent, "token")}`), list);
  }

  function facts(variant, data) {
    const plain = data.variants.find((other) => other.label.startsWith("cons@"));
    const verdict =
      variant.correct === null ? null
      : make("span", { className: variant.correct ? "right" : "wrong" }, variant.correct ? " ✓ right" : " ✗ wrong");
    let spent = variant.tokens === null ? "" : `${many(variant.tokens, "token")}`;
    if (plain && plain !== variant && plain.tokens && variant.tokens !== null)
      spent += ` (${((100 * variant.tokens) / plain.tokens).toFixed(1)}% of ${plain.label})`;
    if (variant.pairs) spent += `, judge: ${many(variant.pairs, "pair")}, ${many(variant.judge, "token")} read`;
    if (variant.rounds !== null) spent += `, ${many(variant.rounds, "round")}`;
    if (variant.seed !== null) spent += `, seed ${variant.seed}`;
    return make(
      "p", { className: "facts" },
      make("strong", {}, variant.answer === null ? "no answer" : variant.answer), verdict, " · ", spent,
    );
  }

  function show(place, variant, data) {
    const longest = Math.max(
      1, ...data.variants.flatMap((e) => e.groups.flatMap((g) => g.lanes.map((lane) => lane[WHOLE]))),
    );
    const votes = make("ul", { className: "votes", "aria-label": "Votes" });
    for (const [answer, number, weight] of variant.votes) {
      const dot = make("span", { className: "dot", style: { background: colourOf(data, answer) } });
      const weighed = weight !== null && Math.abs(weight - number) > 1e-6 ? ` (weight ${weight.toFixed(1)})` : "";
      votes.append(make("li", {}, dot, `${data.answers[answer]}: ${many(number, "vote")}${weighed}`));
    }
    const lanes = [];
    const sections = variant.groups.map((group) => groupSection(group, variant, data, longest, lanes));
    const never = variant.never ? make("h4", {}, `never launched: ${many(variant.never, "trace")}`) : null;
    const key = make(
      "p", { className: "key" },
      make("span", {}, "lane: a trace, as long as its tokens, coloured by its answer"),
      make("span", {}, "✕ pale: cancelled there"),
      make("span", {}, "dotted: recorded, never generated under this policy"),
      make("span", {}, "notch: its checkpoint"),
    );
    place.replaceChildren(facts(variant, data), votes, ...sections, ...(never ? [never] : []), key);
  }

  async function build(details) {
    const content = details.querySelector(".content");
    if (details.dataset.built || !content) return;
    details.dataset.built = "yes";
    try {
      const data = await unpack(details.querySelector("script").textContent);
      rankAnswers(data);
      const select = make("select", {});
      data.variants.forEach((variant, at) => select.append(make("option", { value: at }, variant.label)));
      const wanted = data.variants.findIndex((variant) => variant.label === details.dataset.pick);
      select.value = String(Math.max(0, wanted));
      const place = make("div", {});
      const update = () => show(place, data.variants[Number(select.value)], data);
      select.addEventListener("change", update);
      const asked = data.problem || "The problem's text is not at hand.";
      const known = data.reference === null ? "no reference answer" : `reference: ${data.reference}`;
      content.replaceChildren(
        make("p", { className: "question" }, asked),
        make("p", { className: "quiet" }, known),
        make("label", {}, "Variant ", select),
        place,
      );
      update();
    } catch (error) {
      content.textContent = `This browser cannot unpack the page of this problem (${error.message}).`;
    }
  }

  function pieces(lane, data) {
    const text = data.texts[lane[TEXT]];
    const parts = typeof text === "string" ? [[0, text]]
      : [[0, text.head], [text.head.length + text.omitted, text.tail]];
    const marks = [];
    if (typeof text !== "string")
      marks.push([text.head.length, "gap", `${count(text.omitted)} characters left out of this report`]);
    if (lane[MARK] >= 0) marks.push([lane[MARK], "mark", "checkpoint: the judge read up to here"]);
    if (lane[CUT] >= 0) {
      const rest = lane[CUT] < sizeOf(text) - 1 ? "; what follows was recorded, not generated" : "";
      marks.push([lane[CUT], "cut", `${endOf(lane, data)} at about ${many(lane[TOKENS], "token")}${rest}`]);
    }
    const nodes = [];
    let shade = "";
    const write = (part) => part && nodes.push(make("span", { className: shade }, part));
    marks.sort((a, b) => a[0] - b[0]);
    for (const [start, part] of parts) {
      let from = 0;
      for (const mark of [...marks]) {
        const at = mark[0] - start;
        if (at > part.length) break;
        marks.shift();
        write(part.slice(from, Math.max(from, at)));
        from = Math.max(from, at);
        nodes.push(make("mark", { className: mark[1] }, mark[2]));
        if (mark[1] === "cut") shade = "ungenerated";
      }
      write(part.slice(from));
    }
    return nodes;
  }

  function read(what) {
    const lane = what.lanes[what.at];
    open = what;
    reader.querySelector("h2").textContent = `Sample ${lane[SAMPLE]}, ${what.variant.label}`;
    document.getElementById("reader-facts").textContent =
      `${what.data.id} · ${many(lane[TOKENS], "token")}` +
      (lane[WHOLE] > lane[TOKENS] ? ` of ${count(lane[WHOLE])}` : "") +
      `, ${endOf(lane, what.data)}, ${answerOf(lane, what.data)}`;
    const pre = reader.querySelector("pre");
    if (lane[TEXT] >= 0) pre.replaceChildren(...pieces(lane, what.data));
    else pre.textContent = "The text of this trace is not at hand.";
    for (const name of ["mark", "cut"])
      reader.querySelector(`[data-go=${name}]`).disabled = !pre.querySelector(`mark.${name}`);
    const text = reader.querySelector(".reader-text");
    if (!reader.open) {
      reader.showModal();
      text.focus();
    }
    text.scrollTop = 0;
  }

  function go(where) {
    const text = reader.querySelector(".reader-text");
    if (where === "close") reader.close();
    else if (where === "end") text.scrollTop = text.scrollHeight;
    else if (where === "next" || where === "previous") {
      const at = open.at + (where === "next" ? 1 : -1);
      if (open.lanes[at]) read({ ...open, at });
    } else {
      const mark = text.querySelector(`mark.${where}`);
      if (mark) mark.scrollIntoView({ block: "center" });
    }
  }

  reader.addEventListener("click", (event) => {
    const button = event.target.closest("[data-go]");
    if (button) go(button.dataset.go);
    else if (event.target === reader) reader.close();
  });
  reader.addEventListener("keydown", (event) => {
    if (event.key === "ArrowRight") go("next");
    if (event.key === "ArrowLeft") go("previous");
  });
  document.addEventListener(
    "toggle", (event) => event.target.matches("details.problem") && event.target.open && build(event.target), true,
  );
  for (const filter of document.querySelectorAll(".filter")) {
    filter.hidden = false;
    filter.querySelector("select").addEventListener("change", (event) => {
      const wanted = event.target.value;
      for (const details of filter.parentElement.querySelectorAll("details.problem"))
        details.hidden = wanted !== "all" && !details.dataset.kinds.split(" ").includes(wanted);
    });
  }
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (target && target.matches("details.problem")) target.open = true;
})();
