"use strict";

// Lines over the last minute, and the learned run times: uPlot, in the colours of the page.

const HEIGHT = 150;

class Chart {
  // `lines`: [{label, colour, dash, fill, points}]; `more` goes into the options of uPlot.
  constructor(place, key, lines, more = {}) {
    this.place = place;
    place.setAttribute("role", "img");
    place.setAttribute("aria-label", place.parentElement.querySelector("h3").textContent);
    this.key = key;
    this.made = null;
    this.options = {
      height: HEIGHT,
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, points: { size: 6 } },
      padding: [8, 16, 0, 0],
      hooks: { setCursor: [() => this.made && this.point()] },
      series: [{}, ...lines.map(line)],
      ...more,
    };
    for (const { label, colour: name } of lines) {
      const item = document.createElement("span");
      item.dataset.colour = name;
      item.append(label, document.createElement("b"));
      key.append(item);
    }
    new ResizeObserver(() => this.fit()).observe(place);
    this.dressed = () => this.made?.redraw(false);
    document.addEventListener("dressed", this.dressed);
  }

  end() {
    document.removeEventListener("dressed", this.dressed);
    this.made?.destroy();
  }

  fit() {
    const width = this.place.clientWidth;
    if (width && this.made) this.made.setSize({ width, height: HEIGHT });
  }

  // The values under the pointer, beside their names.
  point() {
    const { idx } = this.made.cursor;
    this.made.data.slice(1).forEach((column, k) => {
      const value = idx === null ? null : column[idx];
      this.key.children[k].lastChild.textContent = value === null || value === undefined ? "" : short(value);
    });
  }

  draw(columns) {
    const width = this.place.clientWidth;
    if (!width) return;
    if (this.made) this.made.setData(columns);
    else this.made = new uPlot({ width, ...this.options }, columns, this.place);
  }
}

function line({ label, colour: name, dash, fill, points }) {
  return {
    label,
    stroke: () => colour(name),
    width: 1.75,
    dash,
    fill: fill ? () => colour(`${name}-soft`) : undefined,
    points: { show: Boolean(points), size: 6, fill: () => colour("card") },
    spanGaps: false,
  };
}

function axis(more) {
  return {
    stroke: () => colour("muted"),
    grid: { stroke: () => colour("grid"), width: 1 },
    ticks: { show: false },
    font: "11px system-ui, sans-serif",
    ...more,
  };
}

// Time runs from when the page was opened, at most a minute ago, to now.
function overTime(more = {}) {
  const ago = (_, splits) => splits.map((at) => (at ? `−${-at} s` : "now"));
  const values = (_, splits) => splits.map((value) => (value === null ? "" : String(value)));
  return {
    scales: {
      x: { time: false, range: (_, first) => [Math.max(-KEPT, Math.min(-RECENT, first ?? 0)), 0] },
      y: { range: (_, low, high) => [0, Math.max(more.least ?? 1, (high ?? 0) * 1.1)] },
    },
    axes: [axis({ values: ago, size: 24, space: 60, incrs: [2, 5, 10, 20] }), axis({ size: 44, values: more.values ?? values })],
  };
}

const labelled = (_, splits) => splits.map((value) => (value === null ? "" : tick(value)));

function tick(value) {
  return value >= 1000 ? `${Number((value / 1000).toPrecision(3))}k` : String(Number(value.toPrecision(3)));
}

class Charts {
  constructor(card, history) {
    const find = (name) => card.querySelector(name);
    this.history = history;
    this.rates = new Chart(
      find(".rates-chart"),
      find(".key.rates"),
      [
        { label: "arrive", colour: "second", dash: [4, 3] },
        { label: "answered", colour: "first", fill: true },
      ],
      overTime({ values: labelled, least: 10 }),
    );
    this.queue = new Chart(
      find(".queue-chart"),
      find(".key.waits"),
      [{ label: "rows", colour: "first", fill: true }],
      overTime({ values: labelled, least: 8 }),
    );
    this.latency = new Chart(
      find(".latency-chart"),
      find(".key.times"),
      [
        { label: "p99", colour: "second", dash: [4, 3] },
        { label: "p50", colour: "first" },
      ],
      overTime({ values: labelled, least: 1 }),
    );
    this.runs = new Chart(
      find(".runs-chart"),
      find(".key.learned"),
      [{ label: "learned from its batches", colour: "first", points: true }],
      bySize(),
    );
  }

  end() {
    for (const chart of [this.rates, this.queue, this.latency, this.runs]) chart.end();
  }

  draw(expected) {
    const { ticks, last } = this.history;
    const ago = ticks.map((each) => each.at - last.at);
    this.rates.draw([ago, ...this.history.rates("accepted+refused", "answered")]);
    this.queue.draw([ago, ticks.map((each) => each.now.queued_rows)]);
    // Of the last second up to each tick: one alone has few requests.
    const both = ticks.map((_, k) => this.history.percentiles("total", [0.99, 0.5], ticks.slice(Math.max(0, k - 4), k + 1)));
    const inMs = (seconds) => (seconds === null ? null : seconds * 1000);
    this.latency.draw([ago, both.map(([p99]) => inMs(p99)), both.map(([, p50]) => inMs(p50))]);
    if (expected?.length) this.runs.draw([expected.map(([size]) => size), expected.map(([, time]) => time * 1000)]);
  }
}

function bySize() {
  const sizes = (_, splits) => splits.map((size) => (size === null || size < 1 ? "" : String(size)));
  return {
    scales: {
      x: { time: false, distr: 3, log: 2 },
      y: { range: (_, low, high) => [0, (high ?? 1) * 1.1] },
    },
    axes: [axis({ values: sizes, size: 24, space: 24 }), axis({ size: 44, values: labelled })],
  };
}
