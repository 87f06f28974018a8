// A backend of a service: a row of its table, or a card on a phone.

import { drawn, element, setText } from "./elements.js";
import { count, lasting, percent } from "./figures.js";
import { Plot } from "./plots.js";

/** Headings by the class of the cells. */
export const COLUMNS = {
  backend: "backend", state: "state", health: "health", weight: "weight", share: "share (by weight)",
  packets: "pkt/s", bits: "bit/s", flows: "new/s", past: "5 min",
};
export const NAMES = Object.keys(COLUMNS);

/** Return whether a backend needs attention. */
export const isTroubled = (backend) =>
  backend.health?.healthy === false || (backend.state === "up" && !backend.mac);

/** Return a coloured label; the colour adds nothing to the words. */
export function chip(kind, words) {
  return element("span", { class: `chip ${kind}` }, words);
}

function stateChip(backend) {
  if (backend.state === "up" && !backend.mac) return chip("bad", "no MAC");
  return chip({ up: "good", drain: "warn", down: "bad" }[backend.state], backend.state);
}

/** A backend of an open service. */
export class Row {
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
    const { address, state, weight, mac, vlan, interface: behind, health } = this.backend;
    const isByHand = this.backend.mac_by_hand;
    const place = [mac ?? "no MAC address", vlan && `VLAN ${vlan}`, isByHand && "fixed MAC"];
    this.cells.backend.append(element("bdi", {}, address),
      element("small", {}, place.filter(Boolean).join(" "),
        element("span", { class: "behind" }, behind ? ` on ${behind}` : "")));
    this.cells.state.append(stateChip(this.backend));
    if (state !== "up") this.element.classList.add("off");
    this.health = element("span");
    this.lasts = element("small");
    this.cells.health.append(this.health, " ", this.lasts);
    const wanted = health?.configured_weight;
    setText(this.cells.weight, health && wanted !== weight ? `${weight} of ${wanted}` : `${weight}`);
    this.bar = element("span", { class: "scale" }, element("span", { class: "fill" }),
      ...(this.backend.weight_share ? [element("span", { class: "mark" })] : []));
    this.share = element("span", { class: "percent" });
    this.cells.share.append(this.bar, this.share);
  }

  /** Return a row with its failing checks, or null. */
  why() {
    const failures = this.backend.health?.failures ?? [];
    if (!failures.length) return null;
    const items = failures.map(({ check, message }) => element("li", {},
      element("b", {}, check), " ", element("bdi", {}, message)));
    return element("tr", { role: "row", class: "why" },
      element("td", { role: "cell", colspan: `${NAMES.length}` }, element("ul", {}, ...items)));
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
    setText(this.health, words);
    setText(this.lasts, lasting(health?.since, clock));
    this.health.className = !health ? "muted" : health.healthy === false ? "bad" : "good";
    this.plot.draw(this.series, time);
  }
}
