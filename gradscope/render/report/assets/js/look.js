// Colours, from the style sheet so that light and dark differ in one place, and what charts have in common.

const CIVIDIS = ["#00224e", "#002d6a", "#1c386e", "#37436c", "#4a4e6c", "#5a596e", "#696471", "#777075", "#847b78",
  "#948778", "#a49376", "#b5a072", "#c6ac6c", "#d8ba63", "#ebc757", "#fee838"].map((hex) =>
  [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)));

// The colour of a share of the scale, 0 to 1, as [red, green, blue].
function cividis(share) {
  const x = Math.min(Math.max(share, 0), 1) * (CIVIDIS.length - 1), i = Math.min(Math.floor(x), CIVIDIS.length - 2);
  return CIVIDIS[i].map((c, channel) => Math.round(c + (CIVIDIS[i + 1][channel] - c) * (x - i)));
}

// A ratio around 1: blue where less passes on, white at 1, red where more does. `share` is 0.5 at 1.
function diverging(share) {
  const x = Math.min(Math.max(share, 0), 1) * 2 - 1, end = x < 0 ? [33, 102, 172] : [178, 24, 43];
  return end.map((c) => Math.round(247 + (c - 247) * Math.abs(x)));
}

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
const rgb = (hex) => [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16));
const runColour = (index) => colour(`run-${index % 7}`);
const DASHES = ["solid", [6, 3], [2, 2], [6, 2, 2, 2]], SYMBOLS = ["circle", "rect", "triangle", "diamond"];
const STATE_NAMES = { [UNDERFLOW]: "underflow", [ZERO]: "zero", [INF]: "inf", [NAN]: "nan", [ABSENT]: "absent" };

function axisLook() {
  return {
    axisLine: { lineStyle: { color: colour("line") } },
    axisTick: { lineStyle: { color: colour("line") } },
    axisLabel: { color: colour("quiet"), fontSize: 11, hideOverlap: true },
    nameTextStyle: { color: colour("quiet"), fontSize: 11 },
    splitLine: { lineStyle: { color: colour("grid") } },
  };
}

const BASE = { animation: false, textStyle: { fontFamily: "system-ui, 'DejaVu Sans', sans-serif" } };
const still = { silent: true, symbol: "none", animation: false };

// Zoom with Ctrl and the wheel (the wheel alone scrolls the page), drag to move.
const zooming = (axes) => ({ type: "inside", zoomOnMouseWheel: "ctrl", moveOnMouseMove: true, moveOnMouseWheel: false, filterMode: "none", ...axes });

function chartIn(holder) {
  const chart = echarts.init(holder, null, { renderer: "canvas" });
  new ResizeObserver(() => chart.resize()).observe(holder);
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
