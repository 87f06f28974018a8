// The lists: what needs attention, verdicts, and events.

import { byId, element, setText, withCode } from "./elements.js";
import { count, duration, lasting, moment } from "./figures.js";

const SHOWN_FINDINGS = 12;
const KEPT_EVENTS = 200;
const KINDS = [["drop", "dropped"], ["tx", "forwarded or answered"], ["pass", "passed to the host"]];

/** Problems and hints. */
export class Attention {
  describe(findings) {
    const items = findings.slice(0, SHOWN_FINDINGS).map((finding) => this.item(finding));
    if (findings.length > SHOWN_FINDINGS) {
      items.push(element("li", { class: "more" }, `and ${findings.length - SHOWN_FINDINGS} more`));
    }
    byId("attention").replaceChildren(...items);
    byId("attention").parentElement.classList.toggle("calm", !findings.length);
    setText(byId("attention-count"), findings.length ? `${findings.length}` : "no problems");
  }

  item({ level, service, backend, since, message, hint }) {
    const about = [service, backend].filter(Boolean).map((name) => element("bdi", {}, name));
    const lasts = element("time", since ? { datetime: since } : {});
    return element("li", { class: level },
      ...(about.length ? [element("p", {}, element("span", { class: "about" }, ...about), " ", lasts)] : []),
      element("p", {}, element("bdi", {}, message)),
      ...(hint ? [element("p", { class: "hint" }, "→ ", ...withCode(hint))] : []));
  }

  apply(clock) {
    for (const time of byId("attention").querySelectorAll("time[datetime]")) {
      setText(time, `for ${lasting(time.dateTime, clock)}`);
    }
  }
}

/** The reasons that have counted packets. */
export class Reasons {
  describe(reasons) {
    this.reasons = reasons;
    this.shown = "";
  }

  apply(verdicts) {
    const happened = this.reasons.filter(({ reason }) => verdicts[reason]?.total);
    const shown = happened.map(({ reason }) => reason).join();
    if (shown !== this.shown || !this.cells) this.fill(happened);
    this.shown = shown;
    for (const [reason, { row, rate, total }] of this.cells) {
      const { packets, total: all } = verdicts[reason];
      setText(rate, count(packets));
      setText(total, count(all));
      row.classList.toggle("now", packets > 0);
    }
  }

  fill(happened) {
    this.cells = new Map();
    const bodies = KINDS.map(([verdict, words]) => {
      const rows = happened.filter((reason) => reason.verdict === verdict).map((reason) => this.row(reason));
      const heading = element("th", { colspan: "3", scope: "rowgroup" }, words);
      if (!rows.length) rows.push(element("tr", {}, element("td", { colspan: "3", class: "muted" }, "none")));
      return element("tbody", { class: verdict }, element("tr", { class: "kind" }, heading), ...rows);
    });
    const headings = ["reason", "per second", "total"].map((words, place) =>
      element("th", { scope: "col", class: place ? "number" : "" }, words));
    byId("reasons").replaceChildren(element("table", {},
      element("thead", {}, element("tr", {}, ...headings)), ...bodies));
  }

  row({ reason, text }) {
    const rate = element("td", { class: "number" });
    const total = element("td", { class: "number" });
    const row = element("tr", {},
      element("th", { scope: "row" }, element("code", {}, reason), element("small", {}, text)), rate, total);
    this.cells.set(reason, { row, rate, total });
    return row;
  }
}

/** Events, newest first. */
export class Events {
  constructor() {
    this.last = 0;
  }

  /** Remove all events, because the daemon was restarted. */
  clear() {
    this.last = 0;
    byId("events").replaceChildren();
  }

  add(events) {
    const list = byId("events");
    for (const event of events) {
      if (event.number <= this.last) continue;
      this.last = event.number;
      list.prepend(this.item(event));
    }
    while (list.children.length > KEPT_EVENTS) list.lastElementChild.remove();
  }

  item({ time, event, trouble, object, cause, duration: lasted, hint, from, to }) {
    const change = from !== null && to !== null ? [element("span", { class: "change" }, `${from} → ${to}`), " "] : [];
    const words = lasted === null || lasted < 0.05 ? [] : [" ", element("small", {}, `(${duration(lasted)})`)];
    return element("li", { class: trouble ? "trouble" : "" },
      element("p", { class: "head" }, element("time", { datetime: time }, moment(time)), " ",
        element("span", { class: "kind" }, event)),
      element("p", {}, element("bdi", { class: "object" }, object), " ", ...change,
        element("bdi", {}, cause), ...words),
      ...(hint ? [element("p", { class: "hint" }, "→ ", ...withCode(hint))] : []));
  }
}
