"use strict";

// The card of one version that serves: figures, its line of batches, charts and tables.

class Version {
  constructor(events, told) {
    // Imported, not cloned: a canvas outside the document writes no text.
    const made = document.importNode(document.getElementById("version").content, true);
    this.card = made.querySelector(".version");
    this.find = (name) => this.card.querySelector(name);
    this.history = new History();
    this.line = new BatchLine(this.find(".batches"), this.find(".tip"), this.history);
    this.charts = new Charts(this.card, this.history);
    this.find(".name").textContent = told.model;
    this.find(".number").textContent = `version ${told.version}`;
    this.card.setAttribute("aria-label", `${told.model} version ${told.version}`);
    this.find(".legend").append(...Object.keys(REASONS).map(legendOf));
    this.find(".span").addEventListener("change", (event) => {
      this.line.span = Number(event.target.value);
      this.line.draw();
    });
    this.find(".pause").addEventListener("click", () => this.pause());
    this.digits = told.draws ? new Digits(this.card, events, told.model, told.version) : null;
    this.dressed = () => this.line.draw();
    document.addEventListener("dressed", this.dressed);
  }

  // The version is served no longer; nothing of it goes on, and nothing is kept.
  end() {
    document.removeEventListener("dressed", this.dressed);
    this.charts.end();
    this.digits?.leave();
    this.card.remove();
  }

  get open() {
    return this.card.open;
  }

  pause() {
    const paused = this.line.pausedAt === null;
    this.line.pause(paused);
    this.find(".pause").setAttribute("aria-pressed", paused);
    this.find(".pause").textContent = paused ? "Go on" : "Pause";
  }

  tell(event, told) {
    this.history.add(event, told);
    this.history.last.received = performance.now();
    this.told = told;
    const { answers, size } = this.history.figures();
    this.find(".state").textContent = told.now.healthy ? told.state : "STUCK";
    this.find(".state").dataset.state = told.now.healthy ? told.state : "STUCK";
    this.find(".brief").textContent =
      `${short(answers ?? 0)} answers/s, ${size === null ? "no batches" : `${short(size)} rows a batch`}`;
    if (this.open) this.show();
  }

  show() {
    this.tiles();
    this.stages();
    this.ends();
    this.charts.draw(this.told.expected);
    this.find(".batches").setAttribute("aria-label", this.line.words());
    this.showReasons();
  }

  tiles() {
    const { answers, size, busy, padding } = this.history.figures();
    const [p50, p99] = this.history.percentiles("total", [0.5, 0.99]);
    const put = (name, value, write) => {
      this.find(`.tiles .${name}`).textContent = value === null ? "–" : write(value);
    };
    put("answers", answers, short);
    put("size", size, short);
    put("busy", busy, percent);
    put("padding", padding, percent);
    put("p50", p50, milliseconds);
    put("p99", p99, milliseconds);
    const { refused, expired, failed } = this.told.totals;
    put("shed", refused + expired, count);
    put("failed", failed, count);
    this.find(".tiles .shed").parentElement.classList.toggle("some", refused + expired > 0);
    this.find(".tiles .failed").parentElement.classList.toggle("some", failed > 0);
  }

  stages() {
    const names = { read: "read: from the body to arrays", queue: "queue: waiting for its batch", run: "run: its batch in the model", write: "write: the answer", total: "all together" };
    const rows = STAGES.map((stage) => {
      const times = this.history.percentiles(stage, [0.5, 0.95, 0.99]);
      return [stage, names[stage], ...times.map((time) => (time === null ? "–" : milliseconds(time)))];
    });
    fillTable(this.find(".stages tbody"), rows);
  }

  ends() {
    const { answered, failed, expired, cancelled, refused, batches } = this.told.totals;
    const { queued_requests: waiting, running_batches: running } = this.told.now;
    fillTable(this.find(".ends tbody"), [
      ["answered", "answered", count(answered)],
      ["refused", "refused: the queue was full", count(refused)],
      ["expired", "expired: too late to be of use", count(expired)],
      ["failed", "failed in the model", count(failed)],
      ["cancelled", "given up by their clients", count(cancelled)],
      ["waiting", "waiting now", count(waiting)],
      ["batches", `batches, ${running} running now`, count(batches)],
    ]);
  }

  // The legend tells how often, of what is kept.
  showReasons() {
    const many = {};
    for (const bar of this.history.bars) many[bar[5]] = (many[bar[5]] ?? 0) + 1;
    for (const item of this.find(".legend").children) {
      const share = (many[item.dataset.reason] ?? 0) / Math.max(1, this.history.bars.length);
      item.classList.toggle("none", !share);
      item.querySelector(".share").textContent = share ? percent(share) : "";
    }
  }
}

function legendOf(reason) {
  const item = document.createElement("li");
  const [word, ...meaning] = REASONS[reason].split(":");
  item.dataset.reason = reason;
  item.title = meaning.join(":").trim();
  item.append(span("swatch", ""), span("", word), span("share", ""), span("unseen", meaning.join(":")));
  return item;
}

function span(name, text) {
  const made = document.createElement("span");
  made.className = name;
  made.textContent = text;
  return made;
}

// Rows of [key, heading, ...cells]; the elements stay, their texts change.
function fillTable(body, rows) {
  for (const [key, heading, ...cells] of rows) {
    let row = body.querySelector(`[data-key="${key}"]`);
    if (!row) {
      row = document.createElement("tr");
      row.dataset.key = key;
      const head = document.createElement("th");
      head.scope = "row";
      row.append(head, ...cells.map(() => document.createElement("td")));
      body.append(row);
    }
    [heading, ...cells].forEach((text, k) => {
      if (row.children[k].textContent !== text) row.children[k].textContent = text;
    });
  }
}
