// A service with its backends, whose rows exist only while it is open.

import { COLUMNS, NAMES, Row, chip, isTroubled } from "./backend.js";
import { drawn, element, setText } from "./elements.js";
import { bitRate, count, counted, duration } from "./figures.js";
import { Plot, Series } from "./plots.js";

/** A service: a summary line, and a table of its backends while it is open. */
export class Group {
  constructor(endpoint) {
    this.endpoint = endpoint;
    this.series = new Series();
    this.backendSeries = new Map();
    this.rows = [];
    this.isInView = true;
    this.body = element("tbody", { role: "rowgroup" });
    this.name = element("bdi", { class: "name" });
    this.address = element("bdi", { class: "endpoint" });
    this.states = element("span", { class: "states" });
    this.changing = element("span", { class: "changing" });
    this.packets = element("b");
    this.bits = element("span");
    this.flows = element("b");
    const plot = drawn("svg", { class: "plot small", "aria-hidden": "true" });
    this.plot = new Plot(plot);
    const summary = element("summary", {},
      element("span", { class: "title" }, this.name, " ", this.address), " ",
      this.states, " ", plot, " ",
      element("span", { class: "rate" }, this.packets, " pkt/s"), " ",
      element("span", { class: "rate" }, this.bits), " ",
      element("span", { class: "rate" }, this.flows, " new/s"), " ", this.changing);
    this.caption = element("caption");
    const headings = NAMES.map((name) =>
      element("th", { scope: "col", role: "columnheader", class: name }, COLUMNS[name]));
    const table = element("table", { role: "table" }, this.caption,
      element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, ...headings)), this.body);
    this.element = element("details", { class: "service" }, summary,
      element("div", { class: "scroll" }, table));
    this.element.addEventListener("toggle", () => this.turn());
  }

  /** Show everything but the rates. */
  describe(service) {
    const text = JSON.stringify(service);
    if (text === this.text) return;
    this.text = text;
    this.service = service;
    const { name, backends, affinity } = service;
    setText(this.name, name || this.endpoint);
    setText(this.address, name ? this.endpoint : "");
    setText(this.caption, `Backends of ${name || this.endpoint}, by ${affinity}`);
    this.troubled = backends.filter(isTroubled).length;
    const number = (state) => backends.filter((one) => one.state === state).length;
    const kinds = { up: number("up") ? "good" : "bad", drain: "warn", down: "bad" };
    this.states.replaceChildren(...Object.entries(kinds)
      .filter(([state]) => number(state) || state === "up")
      .flatMap(([state, kind]) => [chip(kind, `${number(state)} ${state}`), " "]));
    const marks = backends.flatMap((one) =>
      [one.address, one.state, one.mac ?? "no mac", one.health?.healthy === false ? "unhealthy" : ""]);
    this.searched = [name, this.endpoint, ...marks].join(" ").toLowerCase();
    this.element.classList.toggle("troubled", this.troubled > 0 || !number("up"));
    const present = new Set(backends.map((one) => one.address));
    for (const address of this.backendSeries.keys()) {
      if (!present.has(address)) this.backendSeries.delete(address);
    }
    if (this.element.open) this.fill();
  }

  /** Add the rows when it is opened, and remove them when it is closed. */
  turn() {
    if (this.element.open) {
      this.fill();
      this.recall();
    } else {
      this.rows = [];
      this.body.replaceChildren();
      this.backendSeries.clear();
    }
  }

  fill() {
    this.rows = this.service.backends.map((backend) => new Row(backend, this.seriesOf(backend.address)));
    this.body.replaceChildren(...this.rows.flatMap((row) => [row.element, row.why()].filter(Boolean)));
    if (this.latest) this.apply(...this.latest);
  }

  seriesOf(address) {
    if (!this.backendSeries.has(address)) this.backendSeries.set(address, new Series());
    return this.backendSeries.get(address);
  }

  /** Fetch the history of its backends. */
  async recall() {
    let past;
    try {
      const answer = await fetch(`/api/history?service=${encodeURIComponent(this.endpoint)}`);
      if (!answer.ok) return;
      past = await answer.json();
    } catch {
      return; // The daemon does not answer; the stream reports it.
    }
    for (const [address, values] of Object.entries(past.backends)) {
      if (this.element.open) this.seriesOf(address).recall(past.times, values);
    }
    if (this.latest) this.apply(...this.latest);
  }

  apply(rate, time, clock) {
    this.latest = [rate, time, clock];
    this.packetRate = rate?.packets ?? 0;
    setText(this.packets, count(rate?.packets));
    setText(this.bits, bitRate(rate?.bits));
    setText(this.flows, count(rate?.new_flows));
    const changing = rate?.slots_changing
      ? `${count(rate.slots_changing)} slots changing, ${counted(rate.records, "flow record")}`
        + (rate.learning ? `, learning for ${duration(rate.learning)}` : "") : "";
    setText(this.changing, changing);
    if (rate) this.series.append(time, rate.packets);
    this.plot.draw(this.series, time);
    const rates = this.rows.map((row) => rate?.backends[row.backend.address]);
    this.rows.forEach((row, place) => {
      if (rates[place]) row.series.append(time, rates[place].packets);
    });
    if (!this.isInView) return;
    const largest = Math.max(0, ...this.rows.map((row, place) =>
      Math.max(rates[place]?.share ?? 0, row.backend.weight_share)));
    this.rows.forEach((row, place) => row.apply(rates[place], largest, time, clock));
  }

  /** Note whether it is on the screen; otherwise its rows are not redrawn. */
  enter(isInView) {
    this.isInView = isInView;
    if (isInView && this.latest) this.apply(...this.latest);
  }
}
