"use strict";

// The stream of events, as fetch reads it: EventSource cannot send a token. It is open only while
// the page is seen; when it ends, it is opened again.

const QUIET = 4000; // Milliseconds without an event, after which the connection is taken for dead.
const PATIENCE = 5000; // Milliseconds between attempts, at most.

class Events {
  // `tell` gets every event; `say` gets a state ("live", "waiting", "locked") and words for it.
  constructor(tell, say) {
    this.tell = tell;
    this.say = say;
    this.retry = 1000;
    this.failures = 0;
    this.opened = null;
    document.addEventListener("visibilitychange", () => this.follow());
    addEventListener("pagehide", () => this.close());
    addEventListener("pageshow", () => this.follow());
  }

  get token() {
    return sessionStorage.getItem("token") ?? "";
  }

  set token(secret) {
    sessionStorage.setItem("token", secret);
  }

  get headers() {
    return this.token ? { Authorization: `Bearer ${this.token}` } : {};
  }

  follow() {
    if (document.hidden) this.close();
    else if (this.opened === null) this.open();
  }

  close() {
    clearTimeout(this.waiting);
    this.opened?.abort();
    this.opened = null;
  }

  again(milliseconds) {
    this.close();
    this.waiting = setTimeout(() => this.follow(), milliseconds);
  }

  async open() {
    const opened = (this.opened = new AbortController());
    let wait = null;
    try {
      const headers = { Accept: "text/event-stream", ...this.headers };
      const answer = await fetch("live/events", { headers, signal: opened.signal, cache: "no-store" });
      if (answer.ok) await this.read(answer.body.pipeThrough(new TextDecoderStream()), opened);
      else wait = await this.refused(answer);
    } catch (error) {
      if (!(error instanceof TypeError || error.name === "AbortError")) throw error;
    }
    if (this.opened !== opened || wait === Infinity) return;
    if (wait === null) this.say("waiting", "the server does not answer; trying again");
    this.failures += 1;
    this.again(wait ?? Math.min(PATIENCE, this.retry * this.failures));
  }

  // How long to wait after an answer that is no stream.
  async refused(answer) {
    const told = await answer.json().catch(() => ({}));
    if (answer.status === 401 || answer.status === 403) {
      this.say("locked", this.token ? "This token is not known here." : "");
      return Infinity;
    }
    this.say("waiting", told.error ?? `the server answered ${answer.status}`);
    // A proxy may tell a date, or 0.
    return 1000 * Math.max(1, Number(answer.headers.get("Retry-After")) || 1);
  }

  async read(stream, opened) {
    const reader = stream.getReader();
    let rest = "";
    for (;;) {
      const dead = setTimeout(() => opened.abort(), QUIET);
      const { value, done } = await reader.read().finally(() => clearTimeout(dead));
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) this.take(block);
    }
  }

  take(block) {
    for (const line of block.split("\n")) {
      const [field, value] = [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 1)];
      if (field === "retry") this.retry = Number(value);
      if (field === "data") {
        this.failures = 0;
        const told = JSON.parse(value);
        this.say(told.ended ? "waiting" : "live", told.phase);
        this.tell(told);
      }
    }
  }
}
