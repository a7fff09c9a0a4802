"use strict";

// What is kept of one version: a minute, and never more than so many batches. The server keeps
// nothing; what happened before the page was opened, or while it was not seen, is not known.

const KEPT = 60; // Seconds.
const MOST_BARS = 20000;
const RECENT = 10; // Seconds that the figures are about.
const STAGES = ["read", "queue", "run", "write", "total"];

// As server/live/snapshot.py makes them: steps of a histogram, eight to each doubling from 1 µs on.
const stepBegins = (step) => 1e-6 * 2 ** (step / 8);

class History {
  constructor() {
    this.clear();
  }

  clear() {
    this.bars = []; // [taken, run time, size, padded size, requests, reason, failed]
    this.blurs = []; // Batches that were told as a sum: {count, size, begin, end}
    this.unseen = []; // [from, to]: events that were missed
    this.ticks = []; // {at, number, now, totals, sums, stages}
  }

  copy() {
    const { bars, blurs, unseen, ticks } = this;
    const lists = { bars: [...bars], blurs: [...blurs], unseen: [...unseen], ticks: [...ticks] };
    return Object.assign(new History(), lists);
  }

  get last() {
    return this.ticks.at(-1);
  }

  add(event, version) {
    const last = this.last;
    const restarted = last && (event.number <= last.number || event.at < last.at);
    if (restarted || (last && version.totals.accepted < last.totals.accepted)) this.clear();
    else if (last && event.number > last.number + 1) this.unseen.push([last.at, event.at]);
    const { now, totals, sums, stages } = version;
    this.ticks.push({ at: event.at, number: event.number, now, totals, sums, stages });
    this.bars.push(...version.batches);
    if (version.left_out) this.blurs.push(version.left_out);
    this.forget(event.at - KEPT);
  }

  forget(before) {
    const drop = (list, time) => {
      const kept = list.findIndex((each) => time(each) >= before);
      list.splice(0, kept < 0 ? list.length : kept);
    };
    drop(this.ticks, (tick) => tick.at);
    drop(this.bars, (bar) => bar[0] + bar[1]);
    drop(this.blurs, (blur) => blur.end);
    drop(this.unseen, (span) => span[1]);
    if (this.bars.length > MOST_BARS) this.bars.splice(0, this.bars.length - MOST_BARS);
  }

  // The ticks of the last `seconds`, and the one before them, to take differences from.
  recent(seconds = RECENT) {
    const since = this.last.at - seconds - 0.01;
    return this.ticks.slice(Math.max(0, this.ticks.findIndex((tick) => tick.at >= since)));
  }

  // What counters have grown by, a second, up to each tick: over a second, so that they are calm.
  rates(...names) {
    const columns = names.map(() => []);
    let from = 0;
    for (const tick of this.ticks) {
      while (this.ticks[from + 1]?.at <= tick.at - 1) from += 1;
      const before = this.ticks[from];
      const passed = tick.at - before.at;
      names.forEach((name, k) => {
        const grown = sumOf(tick.totals, name) - sumOf(before.totals, name);
        columns[k].push(passed > 0 ? grown / passed : null);
      });
    }
    return columns;
  }

  // Figures of the last seconds: {answers, size, busy, padding}; null where nothing happened.
  figures() {
    const ticks = this.recent();
    const passed = ticks.at(-1).at - ticks[0].at;
    const sum = (name) => ticks.slice(1).reduce((all, tick) => all + tick.sums[name], 0);
    const grown = (name) => ticks.at(-1).totals[name] - ticks[0].totals[name];
    const rows = sum("size");
    return {
      answers: passed > 0 ? grown("answered") / passed : null,
      size: rows ? rows / sum("batches") : null,
      busy: passed > 0 ? Math.min(1, sum("busy") / passed) : null,
      padding: rows ? 1 - rows / sum("padded_size") : null,
    };
  }

  // Percentiles of a stage in seconds over these ticks, null where nothing was answered.
  percentiles(stage, shares, ticks = this.recent()) {
    const counts = new Map();
    let all = 0;
    for (const tick of ticks) {
      for (const [step, many] of tick.stages[stage] ?? []) {
        counts.set(step, (counts.get(step) ?? 0) + many);
        all += many;
      }
    }
    const steps = [...counts.keys()].sort((a, b) => a - b);
    return shares.map((share) => {
      let left = share * all;
      // The middle of the step.
      for (const step of steps) if ((left -= counts.get(step)) <= 0) return stepBegins(step + 0.5);
      return null;
    });
  }
}

function sumOf(totals, names) {
  return names.split("+").reduce((all, name) => all + totals[name], 0);
}
