// The list of services.

import { byId, setText } from "./elements.js";
import { Group } from "./service.js";

const OPEN_BACKENDS = 40;
const ORDERS = {
  given: () => 0,
  trouble: (one, other) => other.troubled - one.troubled,
  packets: (one, other) => other.packetRate - one.packetRate,
};

/** All services, filtered and in order. */
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
    groups.sort(ORDERS[this.order.value]);
    for (const group of groups) {
      group.element.hidden = !words.every((word) => group.searched.includes(word));
    }
    const wanted = groups.map((group) => group.element);
    // What stands where it should is not moved: it would lose the focus.
    const present = [...this.list.children];
    if (wanted.length !== present.length || wanted.some((one, place) => one !== present[place])) {
      this.list.replaceChildren(...wanted);
    }
    const shown = groups.filter((group) => !group.element.hidden);
    const nothing = byId("nothing");
    nothing.hidden = shown.length > 0;
    setText(nothing, groups.length ? "No service has that."
      : "There are no services: the file names them, or `pydsr services add` adds one.");
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
