"use strict";

// The box to draw in: strokes become a scan of 8x8 grey values as the model's data set has them,
// and the answer tells what the request went through.

const SIDE = 32; // The bitmap whose 4x4 blocks are counted: values 0 to 16.
const PEN = 5.4; // Its pen, in pixels of the bitmap.
const FINER = 4; // Pixels drawn for each of the bitmap, on a side.
const IN_HAND = 4; // Requests that "Keep sending" has under way: browsers open six connections.
const MOST_ROWS = 8; // Rows of each of them, at most.

// Strokes, lists of [x, y], as a scan: made as large as fits, put into the middle, drawn with a pen
// of the right width, whatever the size of the drawing.
function scanOf(strokes) {
  const points = strokes.flat();
  const [left, right] = [Math.min(...points.map(([x]) => x)), Math.max(...points.map(([x]) => x))];
  const [top, bottom] = [Math.min(...points.map(([, y]) => y)), Math.max(...points.map(([, y]) => y))];
  const scale = (SIDE - PEN) / Math.max(right - left, bottom - top, 1e-6);
  const place = ([x, y]) => [
    SIDE / 2 + (x - (left + right) / 2) * Math.min(scale, 1e3),
    SIDE / 2 + (y - (top + bottom) / 2) * Math.min(scale, 1e3),
  ];
  const canvas = new OffscreenCanvas(SIDE * FINER, SIDE * FINER);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.scale(FINER, FINER);
  trace(context, strokes.map((stroke) => stroke.map(place)), PEN);
  return blocks(context.getImageData(0, 0, SIDE * FINER, SIDE * FINER).data);
}

function trace(context, strokes, width) {
  context.lineWidth = width;
  context.lineCap = context.lineJoin = "round";
  for (const stroke of strokes) {
    context.beginPath();
    context.moveTo(...stroke[0]);
    for (const point of stroke) context.lineTo(...point);
    context.stroke();
  }
}

// Pixels of the bitmap that are mostly ink, counted in blocks of four by four.
function blocks(pixels) {
  const scan = Array.from({ length: 8 }, () => Array(8).fill(0));
  for (let y = 0; y < SIDE; y += 1) {
    for (let x = 0; x < SIDE; x += 1) {
      const middle = ((y + 0.5) * FINER * SIDE + x + 0.5) * FINER;
      if (pixels[4 * Math.floor(middle) + 3] > 127) scan[y >> 2][x >> 2] += 1;
    }
  }
  return scan;
}

// The entries of a Server-Timing header: {queue: {dur}, run: {dur}, batch: {desc}}.
function timings(header) {
  const entries = (header ?? "").split(",").map((entry) => entry.trim().split(";"));
  const pairs = (parts) => Object.fromEntries(parts.map((part) => part.split("=")));
  return Object.fromEntries(entries.map(([name, ...parts]) => [name, pairs(parts)]));
}

// What a model gives may be no probabilities yet.
function probabilities(outputs) {
  const sum = outputs.reduce((all, value) => all + value, 0);
  if (outputs.every((value) => value >= 0) && Math.abs(sum - 1) < 0.01) return outputs;
  const high = Math.max(...outputs);
  const powers = outputs.map((value) => Math.exp(value - high));
  const all = powers.reduce((total, value) => total + value, 0);
  return powers.map((value) => value / all);
}

class Digits {
  constructor(card, events, model, version) {
    this.find = (name) => card.querySelector(name);
    this.events = events;
    this.target = `v1/models/${encodeURIComponent(model)}/versions/${version}:predict`;
    this.query = new URLSearchParams({ model, version });
    this.strokes = [];
    this.asked = 0;
    this.keeping = false;
    this.find(".digits").hidden = false;
    this.bars = Array.from({ length: 10 }, (_, digit) => this.barOf(digit));
    this.box = this.find(".box");
    this.box.addEventListener("pointerdown", (event) => this.begin(event));
    this.box.addEventListener("pointermove", (event) => this.go(event));
    for (const end of ["pointerup", "pointercancel"]) {
      this.box.addEventListener(end, () => this.end());
    }
    this.find(".clear").addEventListener("click", () => this.clear());
    this.find(".scan").addEventListener("click", () => this.showScan());
    this.find(".burst").addEventListener("click", () => this.burst());
    this.find(".keep").addEventListener("click", () => this.keep());
    this.dressed = () => this.paint();
    document.addEventListener("dressed", this.dressed);
    new ResizeObserver(() => this.last && drawCloseUp(this.find(".closeup"), this.last)).observe(this.find(".closeup"));
    this.clear();
  }

  leave() {
    this.keeping = false;
    document.removeEventListener("dressed", this.dressed);
  }

  barOf(digit) {
    const item = document.createElement("li");
    item.innerHTML = `<b>${digit}</b><span class="track"><i></i></span><span class="share"></span>`;
    this.find(".bars").append(item);
    return item;
  }

  // ------------------------------------------------------------------------------- drawing

  begin(event) {
    event.preventDefault();
    this.box.focus({ preventScroll: true });
    this.box.setPointerCapture(event.pointerId);
    if (this.scan) this.clear();
    this.strokes.push([this.at(event)]);
    this.drawing = true;
    this.paint();
  }

  go(event) {
    if (!this.drawing) return;
    for (const each of event.getCoalescedEvents?.() ?? [event]) this.strokes.at(-1).push(this.at(each));
    this.paint();
  }

  end() {
    if (!this.drawing) return;
    this.drawing = false;
    this.ask(scanOf(this.strokes));
  }

  at(event) {
    const side = this.box.getBoundingClientRect();
    return [(event.clientX - side.left) / side.width, (event.clientY - side.top) / side.height];
  }

  clear() {
    this.strokes = [];
    this.scan = null;
    this.asked += 1;
    this.find(".digit").textContent = "?";
    this.find(".legs").replaceChildren();
    this.find(".went").textContent = "Draw, and see how long it waited, ran, and in what company.";
    this.showGrey(null);
    this.showBars(Array(10).fill(0));
    this.paint();
  }

  paint() {
    const context = this.box.getContext("2d");
    const { width } = this.box;
    context.clearRect(0, 0, width, width);
    if (this.scan) drawGrey(context, this.scan, width / 8);
    context.strokeStyle = colour("ink");
    const wide = this.strokes.map((stroke) => stroke.map(([x, y]) => [x * width, y * width]));
    trace(context, wide, width / 14);
    if (!this.scan && !this.strokes.length) this.invite(context, width);
  }

  invite(context, width) {
    context.fillStyle = colour("muted");
    context.font = `${width / 16}px system-ui, sans-serif`;
    context.textAlign = "center";
    context.fillText("draw 0 … 9 here", width / 2, width / 2);
  }

  showGrey(scan) {
    const context = this.find(".seen").getContext("2d");
    context.clearRect(0, 0, 8, 8);
    if (scan) drawGrey(context, scan, 1);
  }

  async showScan() {
    const { scans, labels } = await this.scans();
    const chosen = Math.floor(Math.random() * scans.length);
    this.clear();
    this.scan = scans[chosen];
    this.paint();
    await this.ask(scans[chosen], labels[chosen]);
  }

  async scans() {
    if (!Digits.loaded) {
      const { scans, labels } = await (await fetch(document.body.dataset.scans)).json();
      const values = scans.map((scan) => Array.from(scan, (value) => parseInt(value, 17)));
      const rows = values.map((scan) => [0, 1, 2, 3, 4, 5, 6, 7].map((y) => scan.slice(8 * y, 8 * y + 8)));
      Digits.loaded = { scans: rows, labels };
    }
    return Digits.loaded;
  }

  // -------------------------------------------------------------------------------- asking

  async send(instances) {
    const headers = { "Content-Type": "application/json", ...this.events.headers };
    return fetch(this.target, { method: "POST", headers, body: JSON.stringify({ instances }) });
  }

  async ask(scan, label) {
    const mine = (this.asked += 1);
    this.showGrey(scan);
    try {
      const began = performance.now();
      const answer = await this.send([scan]);
      const told = await answer.json();
      const passed = performance.now() - began;
      if (mine !== this.asked) return;
      if (!answer.ok) throw new TypeError(told.error);
      this.show(told.predictions[0], timings(answer.headers.get("Server-Timing")), passed, label);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      if (mine === this.asked) this.find(".went").textContent = `No answer: ${error.message}`;
    }
  }

  show(outputs, { queue, run, batch }, passed, label) {
    const shares = probabilities(outputs);
    const digit = shares.indexOf(Math.max(...shares));
    this.find(".digit").textContent = digit;
    this.showBars(shares);
    const [waited, ran] = [Number(queue.dur), Number(run.dur)];
    const rest = Math.max(0, passed - waited - ran);
    const rows = Number(batch.desc);
    const company = rows === 1 ? "alone" : `in a batch of ${rows} rows`;
    const known = label === undefined ? "" : ` The scan shows a ${label}.`;
    this.find(".went").textContent =
      `Waited ${short(waited)} ms, ran ${short(ran)} ms ${company}; ${short(passed)} ms in all.${known}`;
    const legs = { queue: waited, run: ran, "network and the rest": rest };
    this.find(".legs").replaceChildren(...Object.entries(legs).map(([name, ms]) => leg(name, ms, passed)));
  }

  showBars(shares) {
    const high = Math.max(...shares);
    shares.forEach((share, digit) => {
      const item = this.bars[digit];
      item.querySelector("i").style.width = `${share * 100}%`;
      item.querySelector(".share").textContent = high ? percent(share) : "";
      item.classList.toggle("most", high > 0 && share === high);
    });
  }

  // ---------------------------------------------------------------------------- many at once

  async burst() {
    const button = this.find(".burst");
    button.disabled = true;
    try {
      const answer = await fetch(`live/burst?${this.query}`, { method: "POST", headers: this.events.headers });
      const told = await answer.json();
      if (!answer.ok) throw new TypeError(told.error);
      this.showBurst(told);
    } catch (error) {
      if (!(error instanceof TypeError)) throw error;
      this.find(".came").textContent = `The burst did not go: ${error.message}`;
    } finally {
      button.disabled = false;
    }
  }

  showBurst(told) {
    const { requests, answered, right, seconds, batches, errors } = told;
    const largest = Math.max(0, ...batches.map((bar) => bar[2]));
    const refused = Object.entries(errors).map(([code, many]) => `, ${count(many)} ${code}`);
    this.find(".came").textContent =
      `${count(requests)} requests became ${plural(batches.length, "batch")}, the largest of ${largest} rows,` +
      ` in ${milliseconds(seconds)}. ${count(right)} of ${count(answered)} read right${refused.join("")}.`;
    this.find(".came").dataset.largest = largest;
    const canvas = this.find(".closeup");
    canvas.hidden = !batches.length;
    if (!batches.length) return;
    this.last = told;
    canvas.setAttribute("aria-label", `The batches of the burst: ${batches.map((bar) => bar[2]).join(", ")} rows`);
    drawCloseUp(canvas, told);
  }

  async keep() {
    this.keeping = !this.keeping;
    const button = this.find(".keep");
    button.setAttribute("aria-pressed", this.keeping);
    button.textContent = this.keeping ? "Stop sending" : "Keep sending";
    if (!this.keeping) return;
    this.find(".came").textContent =
      `This page has ${IN_HAND} requests under way at any time, each of 1 to ${MOST_ROWS} scans.`;
    const { scans } = await this.scans();
    await Promise.all(Array.from({ length: IN_HAND }, () => this.keepSending(scans)));
  }

  async keepSending(scans) {
    while (this.keeping) {
      const rows = 1 + Math.floor(Math.random() * MOST_ROWS);
      const from = Math.floor(Math.random() * (scans.length - rows));
      const sent = await this.send(scans.slice(from, from + rows)).catch(() => null);
      await sent?.arrayBuffer().catch(() => null);
      if (!sent?.ok) await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }
}

function drawGrey(context, scan, side) {
  context.fillStyle = colour("ink");
  scan.forEach((row, y) =>
    row.forEach((value, x) => {
      context.globalAlpha = value / 16;
      context.fillRect(x * side, y * side, side, side);
    }),
  );
  context.globalAlpha = 1;
}

function leg(name, ms, all) {
  const part = document.createElement("span");
  part.className = `leg ${name.split(" ")[0]}`;
  part.style.flexGrow = Math.max(0.02, ms / all);
  part.title = `${name}: ${short(ms)} ms`;
  return part;
}
