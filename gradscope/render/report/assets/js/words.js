// Numbers in words, as the rest of Gradscope writes them, and elements whose text is never markup.

const STATE_WORDS = ["not recorded", "finite", "underflow below 1.2e-38", "exactly 0", "infinite", "NaN"];

// A measured number to so many digits: 0.0123, 4e-7, 1,250, inf, NaN.
function number(value, digits = 3) {
  if (value === undefined) return "not recorded";
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  if (value === 0) return "0";
  const bare = (text) => (text.includes(".") ? text.replace(/0+$/, "").replace(/\.$/, "") : text);
  const [mantissa, power] = value.toExponential(digits - 1).split("e"), exponent = Number(power);
  if (exponent < -4 || exponent >= 6) return `${bare(mantissa)}e${exponent}`;
  const fixed = bare(Number(value.toExponential(digits - 1)).toFixed(Math.max(digits - 1 - exponent, 0)));
  return fixed.replace(/^(-?\d+)/, (whole) => whole.replace(/\B(?=(\d{3})+$)/g, ","));
}

const thousands = (n) => Math.round(n).toLocaleString("en-US");

function powerOfTen(exponent) {
  if (exponent === 0) return "1";
  if (exponent === 1) return "10";
  return "10" + String(exponent).replace(/./g, (c) => "⁰¹²³⁴⁵⁶⁷⁸⁹⁻"["0123456789-".indexOf(c)]);
}

// A name from a model as data: no character of it may change how it is read; cut in the middle.
function plain(text, limit = Infinity) {
  const shown = text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (c) => `\\u${c.codePointAt(0).toString(16).padStart(4, "0")}`);
  const signs = [...shown];
  if (signs.length <= limit) return shown;
  const head = (limit - 1) >> 1;
  return `${signs.slice(0, head).join("")}…${signs.slice(signs.length - (limit - 1 - head)).join("")}`;
}

// An element: attributes, then children, which are elements or texts.
function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "onclick") made.addEventListener("click", value);
    else if (value !== false && value !== undefined) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const byId = (id) => document.getElementById(id);

function table(head, rows) {
  const cells = (row) => row.map((cell, i) => element(i ? "td" : "th", i ? {} : { scope: "row" }, cell));
  return element("table", {},
    element("thead", {}, element("tr", {}, ...head.map((cell) => element("th", { scope: "col" }, cell)))),
    element("tbody", {}, ...rows.map((row) => element("tr", {}, ...cells(row)))));
}
