// Numbers and times for people; counts look as in `pydsr top`.

export const UNKNOWN = "–";

const PREFIXES = ["", "k", "M", "G", "T", "P", "E"];

/** Return a count or rate such as 7, 1.2k or 3.4M. */
export function count(value) {
  if (value === null || value === undefined) return UNKNOWN;
  for (const prefix of PREFIXES) {
    if (value < 99.95) {
      const rounded = Math.round(value * 10) / 10;
      const isWhole = Number.isInteger(rounded) && (prefix === "" || value === 0);
      return (isWhole ? rounded.toFixed(0) : rounded.toFixed(1)) + prefix;
    }
    if (value < 999.5 || prefix === PREFIXES.at(-1)) return Math.round(value) + prefix;
    value /= 1000;
  }
  return UNKNOWN;
}

/** Return bits per second such as 12.3 Mbit/s. */
export function bitRate(bits) {
  const text = count(bits);
  const prefix = /[a-zA-Z]$/.test(text) ? text.at(-1) : "";
  return `${prefix ? text.slice(0, -1) : text} ${prefix}bit/s`;
}

/** Return a share of 0 to 1 as 48% or 4.8%. */
export function percent(share) {
  if (share === null || share === undefined) return UNKNOWN;
  const value = 100 * share;
  return value > 0 && value < 9.95 ? `${value.toFixed(1)}%` : `${value.toFixed(0)}%`;
}

/** Return a duration such as 12 s, 5 min or 3 h. */
export function duration(seconds) {
  const units = [[86400, "d"], [3600, "h"], [60, "min"]];
  for (const [size, unit] of units) {
    if (seconds >= 2 * size) return `${Math.floor(seconds / size)} ${unit}`;
  }
  return seconds < 10 && !Number.isInteger(seconds)
    ? `${seconds.toFixed(1)} s` : `${Math.max(0, Math.round(seconds))} s`;
}

/** Return the time since a moment, by the clock of the balancer. */
export function lasting(since, clock) {
  return since ? duration(Math.max(0, Math.round((Date.parse(clock) - Date.parse(since)) / 1000))) : "";
}

/** Return a time of day, with the date unless that is today. */
export function moment(time) {
  const date = new Date(time);
  const clock = date.toLocaleTimeString("en-GB");
  const isToday = date.toDateString() === new Date().toDateString();
  return isToday ? clock : `${date.toLocaleDateString("en-CA")} ${clock}`;
}

/** Return a number with its noun. */
export function counted(number, noun) {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}
