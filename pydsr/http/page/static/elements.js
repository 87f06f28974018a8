// Elements of the page. Text is only ever set as text, so that names and messages from the network
// are never markup.

const SVG = "http://www.w3.org/2000/svg";

/** Return the element of the page with an id. */
export const byId = (id) => document.getElementById(id);

/**
 * Return a new element.
 * @param {string} tag
 * @param {Object<string, string>} attributes
 * @param {...(Node|string)} children strings become text
 */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Return a new SVG element. */
export function drawn(tag, attributes = {}) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

/** Set the text of an element if it differs. */
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/** Return text as nodes, with code elements for the parts between backticks. */
export function withCode(words) {
  return words.split("`").map((part, place) =>
    place % 2 ? element("code", {}, part) : document.createTextNode(part));
}
