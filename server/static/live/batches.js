"use strict";

// The batches of one version on a line of time: one bar each, as wide as it ran, as high as it had
// rows, in the colour of why it was released. Where there is no bar, the model did not run.

const REASONS = {
  full: "full: no further row would have fitted",
  idle: "idle: the device was free, nobody waits",
  timeout: "timeout: its oldest request had waited long enough for company",
  deadline: "deadline: a longer wait would have made somebody late",
  again: "again: a part of a failed batch, to find the guilty request",
  drain: "drain: no company can come any more",
};

const DELAY = 0.3; // Seconds behind the server: an event comes five times a second.
const LEFT = 34;
const BELOW = 20;
const ABOVE = 8;

function describeBar([, time, size, padded, requests, reason, failed]) {
  const more = [`ran ${milliseconds(time)}`, REASONS[reason] ?? reason];
  if (padded > size) more.unshift(`padded to ${padded}`);
  if (failed) more.push(`${plural(failed, "request")} failed`);
  return `${plural(size, "row")} of ${plural(requests, "request")}, ${more.join(", ")}`;
}

// A canvas as sharp as the screen; returns its context, width and height in pixels of CSS.
function sharp(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const scale = devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = '11px system-ui, sans-serif';
  return { context, width, height };
}

// The next power of two, so that the scale does not tremble.
function roundUp(rows) {
  return 2 ** Math.ceil(Math.log2(Math.max(4, rows)));
}

class BatchLine {
  constructor(canvas, tip, history) {
    this.canvas = canvas;
    this.tip = tip;
    this.history = history;
    this.span = 10;
    this.held = this.pausedAt = null;
    this.most = 4;
    canvas.addEventListener("pointermove", (event) => this.point(event));
    canvas.addEventListener("pointerdown", (event) => this.point(event));
    canvas.addEventListener("pointerleave", () => (this.tip.hidden = true));
  }

  pause(paused) {
    // What is shown stays so, also when a minute has passed.
    this.held = paused ? this.history.copy() : null;
    this.pausedAt = paused ? this.now() : null;
  }

  get seen() {
    return this.held ?? this.history;
  }

  now() {
    const last = this.history.last;
    if (this.pausedAt !== null) return this.pausedAt;
    return last.at + Math.min(1, (performance.now() - last.received) / 1000) - DELAY;
  }

  draw() {
    if (!this.seen.last) return;
    const { context, width, height } = sharp(this.canvas);
    const now = this.now();
    const from = now - this.span;
    this.x = (time) => LEFT + ((time - from) / this.span) * (width - LEFT);
    this.time = (x) => from + ((x - LEFT) / (width - LEFT)) * this.span;
    const bars = this.seen.bars.filter((bar) => bar[0] + bar[1] >= from && bar[0] <= now);
    const blurs = this.seen.blurs.filter((blur) => blur.end >= from && blur.begin <= now);
    this.shown = bars;
    this.scale(bars, height);
    this.axes(context, width, height);
    context.save();
    context.beginPath();
    context.rect(LEFT, 0, width - LEFT, height - BELOW);
    context.clip();
    this.shade(context, now);
    for (const blur of blurs) this.blur(context, blur);
    this.fill(context, bars);
    this.underWay(context, now);
    context.restore();
    if (!bars.length && !blurs.length) this.nothing(context, width, height);
  }

  scale(bars, height) {
    const most = roundUp(bars.reduce((all, bar) => Math.max(all, bar[3]), 0));
    // Up at once, down only when nothing high is left.
    this.most = most;
    this.y = (rows) => height - BELOW - (rows / this.most) * (height - BELOW - ABOVE);
  }

  axes(context, width, height) {
    context.fillStyle = colour("muted");
    context.strokeStyle = colour("grid");
    context.lineWidth = 1;
    context.textAlign = "right";
    context.textBaseline = "middle";
    for (const rows of [0, this.most / 2, this.most]) {
      const y = Math.round(this.y(rows)) + 0.5;
      context.beginPath();
      context.moveTo(LEFT, y);
      context.lineTo(width, y);
      context.stroke();
      context.fillText(String(rows), LEFT - 6, y);
    }
    context.textBaseline = "alphabetic";
    const parts = width < 500 ? 2 : 5;
    for (let k = 0; k <= parts; k += 1) {
      const ago = this.span * (1 - k / parts);
      context.textAlign = k === 0 ? "left" : k === parts ? "right" : "center";
      const x = LEFT + (k / parts) * (width - LEFT);
      const unit = this.span < 1 ? `${short(ago * 1000)} ms` : `${Number(ago.toFixed(1))} s`;
      context.fillText(ago ? `−${unit}` : "now", x, height - 5);
    }
  }

  // Bars narrower than a pixel share it: the highest is seen.
  fill(context, bars) {
    const columns = new Map();
    for (const bar of bars) {
      const column = Math.round(this.x(bar[0]) * 2);
      const other = columns.get(column);
      if (!other || other[2] < bar[2]) columns.set(column, bar);
    }
    for (const bar of columns.values()) this.bar(context, bar);
  }

  bar(context, [taken, time, size, padded, , reason, failed]) {
    const x = this.x(taken);
    const width = Math.max(1.5, this.x(taken + time) - x - (this.x(taken + time) - x > 4 ? 0.75 : 0));
    const [top, bottom] = [this.y(size), this.y(0)];
    context.fillStyle = colour(reason);
    if (padded > size) {
      context.globalAlpha = 0.3;
      context.fillRect(x, this.y(padded), width, top - this.y(padded));
      context.globalAlpha = 1;
    }
    context.fillRect(x, top, width, bottom - top);
    if (failed) {
      context.fillStyle = colour("bad");
      context.fillRect(x, top - 4, Math.max(3, width), 4);
    }
  }

  blur(context, { begin, end, count: many, size }) {
    const [x, width] = [this.x(begin), Math.max(2, this.x(end) - this.x(begin))];
    const top = this.y(size / many);
    context.globalAlpha = 0.35;
    context.fillStyle = colour("muted");
    context.fillRect(x, top, width, this.y(0) - top);
    context.globalAlpha = 1;
    const text = `+${count(many)}`;
    if (width > context.measureText(text).width + 4) {
      context.fillStyle = colour("ink");
      context.textAlign = "center";
      context.fillText(text, x + width / 2, top - 3);
    }
  }

  // What was not seen, because this page was not told.
  shade(context, now) {
    const first = this.seen.ticks[0].at;
    const spans = [[now - this.span, first, "before you looked"]];
    for (const missed of this.seen.unseen) spans.push([...missed, "not seen"]);
    context.textAlign = "left";
    for (const [begin, end, words] of spans) {
      if (end <= now - this.span) continue;
      const [from, wide] = [Math.max(LEFT, this.x(begin)), this.x(end) - Math.max(LEFT, this.x(begin))];
      context.fillStyle = colour("unseen");
      context.fillRect(from, ABOVE, wide, this.y(0) - ABOVE);
      context.fillStyle = colour("muted");
      if (wide > context.measureText(words).width + 12) context.fillText(words, from + 6, ABOVE + 14);
    }
  }

  // A batch that runs has no bar before it ends; where a long one must be is outlined.
  underWay(context, now) {
    const { bars, ticks, last } = this.seen;
    const bar = bars.at(-1);
    const since = bar ? bar[0] + bar[1] : ticks[0].at;
    if (!last.now.running_batches || now - since < 0.5) return;
    context.setLineDash([4, 4]);
    context.strokeStyle = colour("muted");
    const top = this.y(Math.min(this.most, bar?.[2] ?? this.most / 2));
    context.strokeRect(this.x(since), top, this.x(now) - this.x(since) + 2, this.y(0) - top);
    context.setLineDash([]);
  }

  nothing(context, width, height) {
    context.fillStyle = colour("muted");
    context.textAlign = "center";
    const words = this.seen.bars.length ? "no batch in this time" : "idle: each batch will be a bar here";
    context.fillText(words, LEFT + (width - LEFT) / 2, height / 2);
  }

  point(event) {
    const x = event.offsetX;
    const time = this.time?.(x);
    const reach = (this.span / this.canvas.clientWidth) * 8;
    const distance = ([taken, run]) => Math.max(0, taken - time, time - taken - run);
    let nearest = null;
    for (const bar of this.shown ?? []) {
      if (!nearest || distance(bar) < distance(nearest)) nearest = bar;
    }
    this.tip.hidden = !nearest || distance(nearest) > reach;
    if (this.tip.hidden) return;
    this.tip.textContent = describeBar(nearest);
    const most = this.canvas.clientWidth - this.tip.offsetWidth;
    this.tip.style.left = `${Math.max(0, Math.min(most, x - this.tip.offsetWidth / 2))}px`;
  }

  // For those who cannot see it.
  words() {
    const { size, busy } = this.history.figures();
    if (size === null) return "Batches as they run: none in the last 10 seconds";
    return `Batches as they run: ${short(size)} rows each, the device busy ${percent(busy)} of the time`;
  }
}

// A few batches, close up: `batches` as in a History, from `began` on, for `seconds`.
function drawCloseUp(canvas, { batches, began, seconds }) {
  const { context, width, height } = sharp(canvas);
  const end = Math.max(seconds, ...batches.map(([taken, time]) => taken + time - began));
  const most = roundUp(Math.max(...batches.map((bar) => bar[3])));
  const x = (time) => (time / end) * width;
  const y = (rows) => height - BELOW - (rows / most) * (height - BELOW - 16);
  context.textAlign = "center";
  const first = x(batches[0][0] - began);
  context.fillStyle = colour("muted");
  if (first > 90) context.fillText("requests come", first / 2, y(most / 2));
  for (const [taken, time, size, padded, , reason] of batches) {
    const [begins, wide] = [x(taken - began), Math.max(1, x(time) - 1)];
    context.fillStyle = colour(reason);
    context.globalAlpha = 0.3;
    context.fillRect(begins, y(padded), wide, y(size) - y(padded));
    context.globalAlpha = 1;
    context.fillRect(begins, y(size), wide, y(0) - y(size));
    context.fillStyle = colour("ink");
    if (wide > 14) context.fillText(String(size), begins + wide / 2, y(padded) - 4);
  }
  context.strokeStyle = colour("grid");
  context.beginPath();
  context.moveTo(0, y(0) + 0.5);
  context.lineTo(width, y(0) + 0.5);
  context.stroke();
  context.fillStyle = colour("muted");
  context.textAlign = "left";
  context.fillText("0 ms", 0, height - 5);
  context.textAlign = "right";
  context.fillText(milliseconds(end), width, height - 5);
}
