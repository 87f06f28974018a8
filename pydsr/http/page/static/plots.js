// Rates over time, and their plots.

import { drawn } from "./elements.js";

const WINDOW_SECONDS = 300;
const WIDTH = 300, HEIGHT = 100;
// A longer pause between points is a gap, not a straight line.
const GAP_SECONDS = 75;

/** Points of time and rate, oldest first; times are seconds of the balancer's monotonic clock. */
export class Series {
  constructor() {
    this.points = [];
  }

  /** Merge the history that the balancer kept with the points received since. */
  recall(times, values) {
    const past = times.map((time, place) => [time, values[place]]).filter(([, value]) => value !== null);
    if (!past.length) return;
    const [first, last] = [past[0][0], past.at(-1)[0]];
    const before = this.points.filter(([time]) => time < first - 0.01);
    const after = this.points.filter(([time]) => time > last + 0.01);
    this.points = [...before, ...past, ...after];
  }

  append(time, value) {
    const last = this.points.at(-1);
    // The host was rebooted, which resets its monotonic clock.
    if (last && last[0] > time) this.points = [];
    if (!last || last[0] < time) this.points.push([time, value]);
    while (this.points.length && this.points[0][0] < time - WINDOW_SECONDS - GAP_SECONDS) {
      this.points.shift();
    }
  }

  get top() {
    return this.points.reduce((top, [, value]) => Math.max(top, value), 0);
  }
}

/** A line with the area below it, in an SVG element sized by its style. */
export class Plot {
  constructor(svg) {
    svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    svg.setAttribute("preserveAspectRatio", "none");
    this.area = drawn("path", { class: "area" });
    this.line = drawn("path", { class: "line", "vector-effect": "non-scaling-stroke" });
    svg.replaceChildren(this.area, this.line);
    this.svg = svg;
  }

  /** Draw the window that ends now, scaled from zero to the largest rate. */
  draw(series, now, top = series.top) {
    let line = "", area = "", stretch = [];
    const finish = () => {
      if (stretch.length) {
        const path = stretch.map((point) => point.join(" ")).join("L");
        const [left, right] = [stretch[0][0], stretch.at(-1)[0]];
        line += `M${path}`;
        area += `M${left} ${HEIGHT}L${path}L${right} ${HEIGHT}Z`;
      }
      stretch = [];
    };
    let before = null;
    for (const [time, value] of series.points) {
      if (before !== null && time - before > GAP_SECONDS) finish();
      before = time;
      const x = WIDTH * (1 - (now - time) / WINDOW_SECONDS);
      const y = top ? HEIGHT - 2 - (HEIGHT - 6) * (value / top) : HEIGHT - 2;
      stretch.push([x.toFixed(1), y.toFixed(1)]);
    }
    finish();
    this.line.setAttribute("d", line);
    this.area.setAttribute("d", area);
  }
}
