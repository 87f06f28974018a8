// Services, each with its backends, which are only in the page while their service is open.

import { byId, drawn, element, setText } from "./elements.js";
import { bitRate, count, counted, duration, lasting, percent } from "./figures.js";
import { Plot, Series } from "./plots.js";

const OPEN_BACKENDS = 40;
const COLUMNS = {
  backend: "backend", state: "state", health: "health", weight: "weight", share: "share (by weight)",
  packets: "pkt/s", bits: "bit/s", flows: "new/s", past: "5 min",
};
const NAMES = Object.keys(COLUMNS);

/** Return whether something is wrong with a backend. */
const isTroubled = (backend) =>
  backend.health?.healthy === false || (backend.state === "up" && !backend.mac);

/** Return a mark with a word: its colour says nothing that the word does not. */
function chip(kind, words) {
  return element("span", { class: `chip ${kind}` }, words);
}

function stateChip(backend) {
  if (backend.state === "up" && !backend.mac) return chip("bad", "no MAC");
  return chip({ up: "good", drain: "warn", down: "bad" }[backend.state], backend.state);
}

/** One backend of an open service. */
class Row {
  constructor(backend, series) {
    this.backend = backend;
    this.series = series;
    this.cells = Object.fromEntries(NAMES.map((name) => [name, name === "backend"
      ? element("th", { scope: "row", role: "rowheader", class: name })
      : element("td", { role: "cell", class: name, "data-label": COLUMNS[name] })]));
    this.element = element("tr", { role: "row" }, ...Object.values(this.cells));
    this.describe();
    const plot = drawn("svg", { class: "plot small", "aria-hidden": "true" });
    this.plot = new Plot(plot);
    this.cells.past.append(plot);
  }

  describe() {
    const { address, state, weight, mac, mac_by_hand, vlan, interface: behind, health } = this.backend;
    const place = [mac ?? "no MAC address", vlan && `VLAN ${vlan}`, mac_by_hand && "by hand"];
    this.cells.backend.append(element("bdi", {}, address),
      element("small", {}, place.filter(Boolean).join(" "),
        element("span", { class: "behind" }, behind ? ` on ${behind}` : "")));
    this.cells.state.append(stateChip(this.backend));
    if (state !== "up") this.element.classList.add("off");
    this.health = element("span");
    this.cells.health.append(this.health);
    const wanted = health?.configured_weight;
    setText(this.cells.weight, health && wanted !== weight ? `${weight} of ${wanted}` : `${weight}`);
    this.bar = element("span", { class: "scale" }, element("span", { class: "fill" }),
      ...(this.backend.weight_share ? [element("span", { class: "mark" })] : []));
    this.share = element("span", { class: "percent" });
    this.cells.share.append(this.bar, this.share);
  }

  /** Say what is wrong with it, in a row of its own. */
  why() {
    const failures = this.backend.health?.failures ?? [];
    if (!failures.length) return null;
    const said = failures.map((one) => element("li", {},
      element("b", {}, one.check), " ", element("bdi", {}, one.message)));
    return element("tr", { role: "row", class: "why" },
      element("td", { role: "cell", colspan: `${NAMES.length}` }, element("ul", {}, ...said)));
  }

  apply(rate, largest, time, clock) {
    setText(this.cells.packets, count(rate?.packets));
    setText(this.cells.bits, count(rate?.bits));
    setText(this.cells.flows, count(rate?.new_flows));
    const share = rate?.share ?? null;
    const wanted = this.backend.weight_share;
    setText(this.share, `${percent(share)} (${percent(wanted)})`);
    this.bar.style.setProperty("--share", largest ? (share ?? 0) / largest : 0);
    this.bar.style.setProperty("--wanted", largest ? wanted / largest : 0);
    this.bar.title = `${percent(share)} of the packets; its weight asks for ${percent(wanted)}`;
    const { health } = this.backend;
    const words = !health ? "not checked"
      : health.healthy === null ? "sorry backend"
      : (health.healthy ? "healthy" : "unhealthy") + (health.held ? ", held" : "");
    const since = lasting(health?.since, clock);
    setText(this.health, since ? `${words} ${since}` : words);
    this.health.className = !health ? "muted" : health.healthy === false ? "bad" : "good";
    this.plot.draw(this.series, time);
  }
}

/** One service: a line, and below it its backends while it is open. */
class Group {
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

  /** Take what seldom changes. */
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
    const chips = [[number("up"), "up", number("up") ? "good" : "bad"], [number("drain"), "drain", "warn"],
      [number("down"), "down", "bad"]];
    this.states.replaceChildren(...chips.filter(([some, state]) => some || state === "up")
      .flatMap(([some, state, kind]) => [chip(kind, `${some} ${state}`), " "]));
    const marks = backends.flatMap((one) => [one.address, one.state, one.mac ?? "no mac", one.health?.healthy === false ? "unhealthy" : ""]);
    this.searched = [name, this.endpoint, ...marks].join(" ").toLowerCase();
    this.element.classList.toggle("troubled", this.troubled > 0 || !number("up"));
    const present = new Set(backends.map((one) => one.address));
    for (const address of this.backendSeries.keys()) {
      if (!present.has(address)) this.backendSeries.delete(address);
    }
    if (this.element.open) this.fill();
  }

  /** Have the rows in the page while it is open, and only then. */
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

  /** Ask for the past of its backends. */
  async recall() {
    let past;
    try {
      const answer = await fetch(`/api/history?service=${encodeURIComponent(this.endpoint)}`);
      if (!answer.ok) return;
      past = await answer.json();
    } catch {
      return; // The daemon is away; the stream says so.
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
      ? `${count(rate.slots_changing)} slots changing, ${counted(rate.records, "flow")} recorded`
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

  /** Know whether it is on the screen: rows elsewhere are not drawn again and again. */
  enter(isInView) {
    this.isInView = isInView;
    if (isInView && this.latest) this.apply(...this.latest);
  }
}

/** All services, filtered and in order. */
export class Services {
  constructor() {
    this.groups = new Map();
    this.list = byId("services");
    this.filter = byId("filter");
    this.order = byId("order");
    this.toggle = byId("toggle");
    this.onScreen = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) this.shownBy.get(target)?.enter(isIntersecting);
    }, { rootMargin: "300px" });
    this.shownBy = new WeakMap();
    this.filter.addEventListener("input", () => this.arrange());
    this.filter.addEventListener("keydown", (event) => {
      if (event.key === "Escape") {
        this.filter.value = "";
        this.arrange();
      }
    });
    this.order.addEventListener("change", () => this.arrange());
    this.toggle.addEventListener("click", () => this.turnAll());
    document.addEventListener("keydown", (event) => {
      if (event.key === "/" && document.activeElement !== this.filter) {
        event.preventDefault();
        this.filter.focus();
      }
    });
  }

  /** Take what seldom changes; groups that stay are the same elements, open or closed as they were. */
  describe(services) {
    const isFirst = !this.groups.size;
    const before = this.groups;
    this.groups = new Map(services.map(({ service }) =>
      [service, before.get(service) ?? this.made(service)]));
    for (const service of services) this.groups.get(service.service).describe(service);
    const backends = services.reduce((sum, one) => sum + one.backends.length, 0);
    if (isFirst && backends <= OPEN_BACKENDS) {
      for (const group of this.groups.values()) group.element.open = true;
    }
    setText(byId("services-count"), `${services.length}`);
    this.arrange();
  }

  made(endpoint) {
    const group = new Group(endpoint);
    this.shownBy.set(group.element, group);
    this.onScreen.observe(group.element);
    return group;
  }

  /** Ask for the past of all services. */
  async recall() {
    try {
      const answer = await fetch("/api/history");
      if (!answer.ok) return null;
      const past = await answer.json();
      for (const [endpoint, values] of Object.entries(past.services)) {
        this.groups.get(endpoint)?.series.recall(past.times, values);
      }
      for (const group of this.groups.values()) {
        if (group.latest) group.apply(...group.latest);
        if (group.element.open) group.recall();
      }
      return past;
    } catch {
      return null; // The daemon is away; the stream says so.
    }
  }

  apply(rates) {
    for (const [endpoint, group] of this.groups) {
      group.apply(rates.services[endpoint], rates.time, rates.clock);
    }
    if (this.order.value === "packets" && !this.list.contains(document.activeElement)) this.arrange();
  }

  /** Show those that the filter leaves, in the order that is chosen. */
  arrange() {
    const words = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const groups = [...this.groups.values()];
    const order = {
      given: () => 0,
      trouble: (one, other) => other.troubled - one.troubled,
      packets: (one, other) => other.packetRate - one.packetRate,
    }[this.order.value];
    groups.sort(order);
    for (const group of groups) group.element.hidden = !words.every((word) => group.searched.includes(word));
    const wanted = groups.map((group) => group.element);
    // What stands where it should is not moved: it would lose the focus.
    const present = [...this.list.children];
    if (wanted.length !== present.length || wanted.some((one, place) => one !== present[place])) {
      this.list.replaceChildren(...wanted);
    }
    const shown = groups.filter((group) => !group.element.hidden);
    const nothing = byId("nothing");
    nothing.hidden = shown.length > 0;
    setText(nothing, groups.length ? "No service has that." : "There are no services: `pydsr services add` adds one, or the file names them.");
    setText(this.toggle, shown.every((group) => group.element.open) ? "Close all" : "Open all");
    this.toggle.hidden = !groups.length;
  }

  turnAll() {
    const shown = [...this.groups.values()].filter((group) => !group.element.hidden);
    const open = !shown.every((group) => group.element.open);
    for (const group of shown) group.element.open = open;
    setText(this.toggle, open ? "Close all" : "Open all");
  }
}
