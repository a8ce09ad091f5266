// A canvas with a lane for each trace, which grows to the right and moves to its cluster.

const AXIS = 26, GAP = 3, RIGHT = 12;
const HEIGHT = 470, TALLEST = 15, SLIMMEST = 1.25; // pixels: of all lanes, and of one
const MOVE_MS = 140, GROW_MS = 260, FADE_MS = 300;
const APART = 4; // least height of a lane, in pixels, with room for marks
const LABELLED = 13; // least height of a group, in pixels, with room for its name

const calm = matchMedia("(prefers-reduced-motion: reduce)");
const dark = matchMedia("(prefers-color-scheme: dark)");

export class Lanes {
  // `onPick` is called with the trace under the pointer, or null.
  constructor(stage, onPick) {
    this.stage = stage;
    this.canvas = stage.querySelector("canvas");
    this.context = this.canvas.getContext("2d");
    this.onPick = onPick;
    new ResizeObserver(() => this.#resize()).observe(stage);
    dark.addEventListener("change", () => this.#restyle());
    stage.addEventListener("pointermove", (event) => this.#point(event.offsetY));
    stage.addEventListener("pointerleave", () => this.#pick(null));
    stage.addEventListener("keydown", (event) => this.#key(event));
    this.#restyle();
    this.show(null);
  }

  show(request) {
    this.request = request;
    this.shown = new Map(); // sample: {y, tokens, light} as drawn, moving towards the current state
    this.longest = 60;
    this.picked = null;
    this.update();
  }

  // Redraw after new events.
  update() {
    this.stale = true;
    this.#wake();
  }

  #wake() {
    if (this.frame) return;
    this.before = performance.now();
    this.frame = requestAnimationFrame((now) => this.#draw(now));
  }

  #restyle() {
    const style = getComputedStyle(document.documentElement);
    const value = (name) => style.getPropertyValue(`--${name}`).trim();
    this.palette = Array.from({ length: 9 }, (_, index) => value(`a${index}`));
    this.colour = Object.fromEntries(
      ["paper", "ink", "quiet", "line", "bad", "card"].map((name) => [name, value(name)]),
    );
    this.font = `12px ${getComputedStyle(document.body).fontFamily}`;
    this.#wake();
  }

  #resize() {
    this.width = this.stage.clientWidth;
    this.left = this.width > 520 ? 92 : 26;
    this.update();
  }

  // Compute the position of each lane; `order` has the traces from top to bottom.
  #arrange() {
    this.stale = false;
    const groups = this.request.groups();
    const num = Math.max(1, this.request.num);
    const never = num - this.request.traces.size;
    const height = Math.max(num * SLIMMEST, Math.min(num * TALLEST, HEIGHT));
    this.pitch = (height - Math.min(groups.length * GAP, height / 4)) / num;
    this.gap = Math.min(GAP, height / 4 / Math.max(1, groups.length));
    this.order = [];
    this.places = new Map();
    this.labels = [];
    let y = 4;
    for (const [name, traces] of groups) {
      this.labels.push([this.#name(name), y, traces.length * this.pitch]);
      for (const trace of traces) {
        this.places.set(trace.sample, y);
        this.order.push(trace);
        y += this.pitch;
      }
      y += this.gap;
    }
    this.never = { y, num: never };
    if (never && this.left > 40) this.labels.push(["not launched", y, never * this.pitch]);
    this.bottom = Math.ceil(4 + height + 2);
    const ratio = devicePixelRatio || 1;
    const size = [Math.round(this.width * ratio), Math.round((this.bottom + AXIS) * ratio)];
    if (this.canvas.width !== size[0] || this.canvas.height !== size[1] || ratio !== this.ratio) {
      [this.canvas.width, this.canvas.height] = size;
      this.canvas.style.height = `${this.bottom + AXIS}px`;
      this.ratio = ratio;
    }
  }

  #name(name) {
    const short = this.left < 40;
    if (name === null) return short ? "" : this.request.clustered ? "not clustered" : "no answer yet";
    if (this.request.clustered) return short ? `${name + 1}` : `cluster ${name + 1}`;
    const limit = short ? 3 : 13;
    return name.length > limit ? `${name.slice(0, limit - 1)}…` : name;
  }

  #draw(now) {
    this.frame = 0;
    if (!this.request || !this.width) return;
    if (this.stale) this.#arrange();
    const elapsed = now - this.before;
    this.moving = false;
    const ease = (from, to, ms, near) => {
      if (calm.matches || Math.abs(to - from) < near) return to;
      this.moving = true;
      return from + (to - from) * (1 - Math.exp(-elapsed / ms));
    };
    const longest = Math.max(60, ...this.order.map((trace) => trace.tokens));
    this.longest = ease(this.longest, longest * 1.02, GROW_MS, longest / 500);
    for (const trace of this.order) {
      const y = this.places.get(trace.sample);
      let lane = this.shown.get(trace.sample);
      if (!lane) this.shown.set(trace.sample, (lane = { y, tokens: 0, light: 0 }));
      lane.y = ease(lane.y, y, MOVE_MS, 0.3);
      lane.tokens = ease(lane.tokens, trace.tokens, GROW_MS, 0.3);
      lane.light = ease(lane.light, trace.state === "cut" || trace.state === "lost" ? 1 : 0, FADE_MS, 0.02);
    }
    this.#paint();
    this.before = now;
    if (this.moving) this.frame = requestAnimationFrame((next) => this.#draw(next));
  }

  #paint() {
    const { context, colour, left, ratio } = this;
    const scale = (this.width - left - RIGHT) / this.longest;
    const at = (tokens) => left + tokens * scale;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.canvas.width, this.canvas.height);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.font = this.font;
    this.#axis(at);
    const height = this.pitch >= APART ? this.pitch * 0.76 : this.pitch;
    const snap = (value) => Math.round(value * ratio) / ratio;
    const bar = (from, to, y, high) => {
      const top = snap(y);
      context.fillRect(from, top, to - from, Math.max(1 / ratio, snap(y + high) - top));
    };
    const { y: first, num: never } = this.never;
    context.fillStyle = this.pitch >= APART ? colour.line : colour.card;
    if (this.pitch < APART) bar(left, at(this.longest), first, never * this.pitch);
    else
      for (let i = 0; i < never; i++)
        bar(left, at(this.longest), first + i * this.pitch + height / 2 - 0.75, 1.5);
    for (const trace of this.order) {
      const { y, tokens, light } = this.shown.get(trace.sample);
      const end = at(tokens);
      if (trace.sample === this.picked) {
        context.fillStyle = colour.line;
        bar(left - 4, this.width, y - 1, Math.max(height, 3) + 2);
      }
      context.fillStyle = colour.paper; // hides the grid lines below
      bar(left, end, y, height);
      context.fillStyle = this.palette[this.request.colour(trace)];
      const held = trace.state === "held";
      context.globalAlpha = held ? 0.78 : 1 - 0.56 * light;
      bar(left, end, y, height);
      context.globalAlpha = 1;
      if (trace.checkpoint !== null && tokens > trace.checkpoint * 1.01) {
        context.fillStyle = colour.paper;
        bar(at(trace.checkpoint), at(trace.checkpoint) + 1.5, y, height);
      }
      if (light > 0) this.#cross(end, y + height / 2, trace.state === "lost" ? colour.bad : colour.ink, light);
      else if (held || trace.state === "running") {
        context.fillStyle = colour.ink;
        if (held && this.pitch >= APART) bar(end + 2, end + 3.5, y, height);
        bar(end - 0.5, end + 1, y, height);
      }
    }
    this.#names();
  }

  #cross(x, y, colour, alpha) {
    const { context } = this;
    const arm = Math.min(3, this.pitch * 0.34);
    context.globalAlpha = this.pitch >= APART ? alpha : alpha * 0.6;
    context.strokeStyle = colour;
    context.lineWidth = this.pitch >= APART ? 1.3 : 1;
    context.beginPath();
    if (this.pitch >= APART) {
      context.moveTo(x - arm, y - arm);
      context.lineTo(x + arm, y + arm);
      context.moveTo(x - arm, y + arm);
      context.lineTo(x + arm, y - arm);
    } else {
      context.moveTo(x, y - this.pitch / 2);
      context.lineTo(x, y + this.pitch / 2);
    }
    context.stroke();
    context.globalAlpha = 1;
  }

  #names() {
    const { context, colour, left } = this;
    context.textBaseline = "middle";
    context.textAlign = "right";
    context.fillStyle = colour.quiet;
    for (const [name, y, height] of this.labels)
      if (height >= LABELLED) context.fillText(name, left - 10, y + height / 2 - 1, left - 10);
  }

  #axis(at) {
    const { context, colour } = this;
    const rough = this.longest / Math.max(2, Math.floor((this.width - this.left) / 90));
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].find((factor) => factor * power >= rough) * power;
    context.textBaseline = "alphabetic";
    context.textAlign = "center";
    for (let tokens = 0; tokens <= this.longest; tokens += step) {
      context.fillStyle = colour.line;
      context.fillRect(Math.round(at(tokens)), 2, 1, this.bottom);
      context.fillStyle = colour.quiet;
      const last = tokens + step > this.longest;
      const text = tokens.toLocaleString("en") + (last ? " tokens" : "");
      const x = last ? Math.min(at(tokens), this.width - context.measureText(text).width / 2) : at(tokens);
      context.fillText(text, x, this.bottom + 18);
    }
  }

  #point(y) {
    let nearest = null, best = Math.max(6, this.pitch);
    for (const [sample, lane] of this.shown) {
      const away = Math.abs(lane.y + this.pitch / 2 - y);
      if (away < best) [nearest, best] = [sample, away];
    }
    this.#pick(nearest);
  }

  #key(event) {
    const at = this.order?.findIndex((trace) => trace.sample === this.picked) ?? -1;
    const last = (this.order?.length ?? 0) - 1;
    const to = {
      ArrowDown: Math.min(last, at + 1),
      ArrowUp: at < 0 ? last : Math.max(0, at - 1),
      Home: 0,
      End: last,
    }[event.key];
    if (event.key === "Escape") this.#pick(null);
    if (to === undefined || last < 0) return;
    event.preventDefault();
    this.#pick(this.order[to].sample);
  }

  #pick(sample) {
    if (sample === this.picked) return;
    this.picked = sample;
    this.onPick(sample === null ? null : this.request.traces.get(sample));
    this.#wake();
  }
}
