// The list of services.

import { byId, setText } from "./elements.js";
import { Group } from "./service.js";

const OPEN_BACKENDS = 40;
const ORDERS = {
  given: () => 0,
  trouble: (left, right) => right.troubled - left.troubled,
  packets: (left, right) => right.packetRate - left.packetRate,
};

/** All services, filtered and sorted. */
export class Services {
  constructor() {
    this.groups = new Map();
    this.list = byId("services");
    this.filter = byId("filter");
    this.order = byId("order");
    this.toggle = byId("toggle");
    this.onScreen = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        this.shownBy.get(target)?.enter(isIntersecting);
      }
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

  /** Show the services; those that remain keep their elements, open or closed. */
  describe(services) {
    const isFirst = !this.groups.size;
    const before = this.groups;
    this.groups = new Map(services.map(({ service }) =>
      [service, before.get(service) ?? this.made(service)]));
    for (const service of services) this.groups.get(service.service).describe(service);
    const backends = services.reduce((sum, { backends }) => sum + backends.length, 0);
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

  /** Fetch the history of all services. */
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
      return null; // The daemon does not answer; the stream reports it.
    }
  }

  apply(rates) {
    for (const [endpoint, group] of this.groups) {
      group.apply(rates.services[endpoint], rates.time, rates.clock);
    }
    if (this.order.value === "packets" && !this.list.contains(document.activeElement)) this.arrange();
  }

  /** Show the services that pass the filter, in the chosen order. */
  arrange() {
    const words = this.filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    const groups = [...this.groups.values()];
    groups.sort(ORDERS[this.order.value]);
    for (const group of groups) {
      group.element.hidden = !words.every((word) => group.searched.includes(word));
    }
    const wanted = groups.map((group) => group.element);
    // Elements in the right place are not moved, as that would take the focus away.
    const present = [...this.list.children];
    if (wanted.length !== present.length || wanted.some((group, place) => group !== present[place])) {
      this.list.replaceChildren(...wanted);
    }
    const shown = groups.filter((group) => !group.element.hidden);
    const nothing = byId("nothing");
    nothing.hidden = shown.length > 0;
    setText(nothing, groups.length ? "No service matches the filter."
      : "There are no services. Name them in the file, or use pydsr services add.");
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
