// The page: pass each message of the daemon to the parts that show it.

import { byId, element, setText, withCode } from "./elements.js";
import { count, moment } from "./figures.js";
import { Attention, Events, Reasons } from "./lists.js";
import { Plot, Series } from "./plots.js";
import { Services } from "./services.js";
import { Stream } from "./stream.js";

const services = new Services();
const attention = new Attention();
const reasons = new Reasons();
const events = new Events();
const total = new Series();
const totalPlot = new Plot(byId("total-plot"));
let balancer = null, drops = [], clock = null, backends = [];

function describe(state, isFirst) {
  if (balancer && balancer.version !== state.balancer.version) {
    location.reload(); // Another version of pydsr has another page.
    return;
  }
  // A restarted daemon numbers its events from 1 again.
  if (balancer?.started !== state.balancer.started) events.clear();
  balancer = state.balancer;
  setText(byId("host"), balancer.host);
  setText(byId("version"), `pydsr ${balancer.version}, daemon started ${moment(balancer.started)}`);
  byId("interfaces").replaceChildren(...state.interfaces.map(({ name, mode }) =>
    element("li", { class: `chip ${mode === "native" ? "good" : "warn"}` },
      element("bdi", {}, name), ` ${mode}`)));
  document.body.classList.toggle("one-interface", state.interfaces.length < 2);
  byId("problem").hidden = !state.problem;
  if (state.problem) {
    byId("problem").replaceChildren(element("ul", {}, element("li", { class: "trouble" },
      element("p", {}, state.problem.message),
      element("p", { class: "hint" }, "→ ", ...withCode(state.problem.hint)))));
  }
  drops = state.reasons.filter(({ verdict }) => verdict === "drop").map(({ reason }) => reason);
  backends = state.services.flatMap((service) => service.backends);
  const troubles = state.attention.filter(({ level }) => level === "trouble").length + (state.problem ? 1 : 0);
  document.title = `${troubles ? `(${troubles}) ` : ""}${balancer.host} · pydsr`;
  attention.describe(state.attention);
  reasons.describe(state.reasons);
  services.describe(state.services);
  document.body.classList.toggle("unread", Boolean(state.problem));
  if (isFirst) recall();
  if (!state.problem) apply(state.rates);
}

async function recall() {
  const past = await services.recall();
  if (!past) return;
  const columns = Object.values(past.services);
  total.recall(past.times, past.times.map((_, place) =>
    columns.reduce((sum, values) => sum + (values[place] ?? 0), 0)));
  drawTotal();
}

function drawTotal() {
  const now = total.points.at(-1)?.[0];
  if (now === undefined) return;
  totalPlot.draw(total, now);
  setText(byId("plot-top"), `up to ${count(total.top)}`);
}

function apply(rates) {
  clock = rates.clock;
  setText(byId("total-packets"), count(rates.total.packets));
  setText(byId("total-bits"), count(rates.total.bits));
  setText(byId("total-new-flows"), count(rates.total.new_flows));
  const dropped = drops.reduce((sum, reason) => sum + rates.verdicts[reason].packets, 0);
  setText(byId("total-dropped"), count(dropped));
  byId("dropped-tile").classList.toggle("warn", dropped > 0);
  const up = backends.filter(({ state }) => state === "up").length;
  setText(byId("total-backends"), `${up} of ${backends.length}`);
  byId("backends-tile").classList.toggle("warn", up < backends.length);
  total.append(rates.time, rates.total.packets);
  drawTotal();
  attention.apply(rates.clock);
  reasons.apply(rates.verdicts);
  services.apply(rates);
  setText(byId("connection"), `live, ${moment(clock)}`);
}

function setConnected(isConnected) {
  byId("stale").hidden = isConnected;
  document.body.classList.toggle("is-stale", !isConnected);
  byId("connection").className = isConnected ? "connection live" : "connection lost";
  if (isConnected) return;
  setText(byId("connection"), "not connected");
  const since = clock ? `The data is from ${moment(clock)}: the` : "The";
  setText(byId("stale"), `${since} daemon does not answer. The page retries every two seconds; traffic does not need the daemon.`);
}

new Stream({ state: describe, rates: apply, events: (added) => events.add(added) }, setConnected);
