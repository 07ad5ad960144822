// Colours, from the style sheet so that light and dark differ in one place, and what charts have in common.

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));

// The colour, [red, green, blue], of a share of a scale, 0 to 1, between colours that stand evenly along it.
function ramp(...hexes) {
  const stops = hexes.map(rgb);
  return (share) => {
    const x = Math.min(Math.max(share, 0), 1) * (stops.length - 1), i = Math.min(Math.floor(x), stops.length - 2);
    return stops[i].map((c, channel) => Math.round(c + (stops[i + 1][channel] - c) * (x - i)));
  };
}
const cividis = ramp("#00224e", "#00285b", "#002e6a", "#053371", "#1c396f", "#293f6e", "#33446d", "#3c4a6c", "#45506c", "#4d556c", "#555b6d",
  "#5c616e", "#646770", "#6b6d72", "#727274", "#787877", "#807f78", "#888578", "#908b78", "#979177", "#a09875", "#a89e73",
  "#b0a571", "#b9ab6d", "#c2b369", "#cbb965", "#d3c05f", "#dcc859", "#e6d051", "#efd748", "#f8df3c", "#fee838");
// Ratios: blue below 1, grey at 1, yellow above; without colours, dark to light. As in the figures.
const diverging = ramp("#08306b", "#4f86bd", "#b4b4b4", "#f0bd55", "#fff4bf");

// At most `most` round numbers from `low` to `high`, whole ones where `whole`.
function roundTicks(low, high, most, whole = false) {
  const rough = Math.max((high - low) / Math.max(most, 1), whole ? 1 : 0), power = 10 ** Math.floor(Math.log10(rough || 1));
  const stride = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough * (1 - 1e-9) && (!whole || s % 1 === 0)) || 1;
  const ticks = [];
  for (let i = Math.ceil(low / stride - 1e-9); i * stride <= high + 1e-9 * stride; i++) ticks.push(Number((i * stride).toPrecision(12)));
  return ticks;
}

// At most about `most` exponents from `low` to `high`: decades, within few of them parts.
function logTicks(low, high, most = 8) {
  if (high - low <= 2.6) {
    for (const parts of [[1, 1.5, 2, 3, 5, 7], [1, 2, 5], [1, 3]]) {
      const ticks = [];
      for (let e = Math.floor(low); e <= high; e++) for (const part of parts) ticks.push(e + Math.log10(part));
      const inside = ticks.filter((t) => low <= t && t <= high);
      if (inside.length <= most) return inside;
    }
  }
  return roundTicks(Math.ceil(low), Math.floor(high), most, true);
}
const logLabel = (at) => (Math.abs(at - Math.round(at)) < 1e-9 && Math.abs(at) > 3.5 ? powerOfTen(Math.round(at)) : number(10 ** at));

// At most `most` positions of 0..count-1, at a round stride, first and last among them.
function spread(count, most) {
  const least = Math.max((count - 1) / Math.max(most - 1, 1), 1), power = 10 ** Math.floor(Math.log10(least)), places = [];
  const stride = [1, 2, 2.5, 4, 5, 10].map((part) => part * power).find((s) => s >= least && Number.isInteger(s));
  for (let i = 0; i < count - 1; i += stride) places.push(i);
  if (places.length > 1 && count - 1 - places[places.length - 1] < stride * 0.6) places.pop();
  return [...places, Math.max(count - 1, 0)];
}

// What is marked along an axis of steps, and along one of layers, between `low` and `high`, over so many pixels.
const stepTicks = (pixels) => (low, high) => roundTicks(low, high, Math.max(Math.floor(pixels / 90), 2), true);
const layerTicks = (pixels, each) => (low, high) => {
  const first = Math.ceil(low), count = Math.floor(high) - first + 1;
  return count > 0 ? spread(count, Math.max(Math.floor(pixels / each), 2)).map((i) => first + i) : [];
};
const runColour = (index) => colour(`run-${index % 7}`);
const DASHES = ["solid", [6, 3], [2, 2], [6, 2, 2, 2]], SYMBOLS = ["circle", "rect", "triangle", "diamond"];
const STATE_NAMES = { [UNDERFLOW]: "underflow", [ZERO]: "zero", [INF]: "inf", [NAN]: "nan", [ABSENT]: "absent" };

function axisLook() {
  return {
    axisLine: { onZero: false, lineStyle: { color: colour("line") } },
    axisTick: { lineStyle: { color: colour("line") } },
    axisLabel: { color: colour("quiet"), fontSize: 11, hideOverlap: true },
    nameTextStyle: { color: colour("quiet"), fontSize: 11 },
    splitLine: { lineStyle: { color: colour("grid") } },
  };
}

// An axis from `min` to `max` that is marked at `places(min, max)` alone, and labelled there.
function valueAxis(min, max, places, formatter, more = {}) {
  const look = axisLook(), customValues = places(min, max);
  return {
    type: "value", min, max, ...look, ...more,
    axisLabel: { ...look.axisLabel, formatter, customValues, ...more.axisLabel }, axisTick: { ...look.axisTick, customValues },
  };
}

// When the zoom changes, marks what is then visible: `axes` are { name, count, zoom, min, max, places }, `zoom` the number of
// the zoom that holds an axis, or `count` of them.
function markWithZoom(chart, axes) {
  chart.off("datazoom");
  chart.on("datazoom", () => {
    const zooms = chart.getOption().dataZoom, changed = {};
    for (const { name, count = 1, zoom, min, max, places } of axes) {
      const { start, end } = zooms[zoom], customValues = places(min + (max - min) * start / 100, min + (max - min) * end / 100);
      changed[name] = Array.from({ length: count }, () => ({ axisLabel: { customValues }, axisTick: { customValues } }));
    }
    chart.setOption(changed);
  });
}

// Where charts stand in their boxes: all alike, so that a step is under the same step, whatever the labels.
const GRID = { left: 104, right: 28, outerBoundsMode: "none" };
const BASE = { animation: false, textStyle: { fontFamily: "system-ui, 'DejaVu Sans', sans-serif" } };
const still = { silent: true, symbol: "none", animation: false };

// Zoom with Ctrl and the wheel (the wheel alone scrolls the page), drag to move.
const zooming = (axes) => ({ type: "inside", zoomOnMouseWheel: "ctrl", moveOnMouseMove: true, moveOnMouseWheel: false, filterMode: "none", ...axes });

function chartIn(holder) {
  const chart = echarts.init(holder, null, { renderer: "canvas" });
  const changed = () => holder.clientWidth !== chart.getWidth() || holder.clientHeight !== chart.getHeight();
  new ResizeObserver(() => { if (changed()) chart.resize(); }).observe(holder);
  return chart;
}

// Calls `moved` with the place of the pointer in the units of the axes while it is over the chart's grid, with null beside it.
function onPointer(chart, moved, clicked) {
  const place = (event, then) => {
    const at = [event.offsetX, event.offsetY];
    then(chart.containPixel({ gridIndex: 0 }, at) ? chart.convertFromPixel({ gridIndex: 0 }, at) : null);
  };
  chart.getZr().on("mousemove", (event) => place(event, moved));
  chart.getZr().on("globalout", () => moved(null));
  if (clicked) chart.getZr().on("click", (event) => place(event, clicked));
}

// Zoom by a factor around the middle; 0 shows all again.
function zoomBy(chart, factor) {
  const zooms = (chart.getOption().dataZoom || []).map((zoom, i) => {
    const middle = (zoom.start + zoom.end) / 2, half = (zoom.end - zoom.start) / 2 * factor;
    const [start, end] = factor ? [Math.max(middle - half, 0), Math.min(middle + half, 100)] : [0, 100];
    return { dataZoomIndex: i, start, end };
  });
  chart.dispatchAction({ type: "dataZoom", batch: zooms });
}

// The names of layers along an axis of positions.
function layerLabels(layers, limit) {
  return (at) => (Number.isInteger(at) && layers[at] !== undefined ? plain(layers[at], limit) : "");
}
