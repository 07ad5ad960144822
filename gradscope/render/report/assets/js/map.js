// The heat map: one chart per run, its cells painted pixel by pixel into an image that the chart places on its axes.

// The colour of each log10 on the common scale of all runs.
function colourScale(profiles) {
  const scale = profiles[0].scale, extents = profiles.map((p) => p.extent);
  let low = Math.min(...extents.map((e) => e.low)), high = Math.max(...extents.map((e) => e.high));
  if (!Number.isFinite(low)) [low, high] = [-1, 1];
  if (scale === "share") return { low: 0, high: 1, of: (log) => cividis(10 ** log), ticks: ["0", "1"], middle: "" };
  if (scale === "ratio") {
    const reach = Math.max(Math.abs(low), Math.abs(high), 1);
    return { low: -reach, high: reach, of: (log) => diverging((log + reach) / (2 * reach)), ticks: [number(10 ** -reach, 2), number(10 ** reach, 2)], middle: "1" };
  }
  const short = Math.max(2 - (high - low), 0) / 2;
  low -= short;
  high += short;
  return { low, high, of: (log) => cividis((log - low) / (high - low)), ticks: [number(10 ** low, 2), number(10 ** high, 2)], middle: "" };
}

// For each of `pixels` the cells [from, to] that it shows, of cells whose edges stand at ascending `places`.
function cellsUnder(places, pixels) {
  const found = [];
  for (let x = 0, cell = 0; x < pixels; x++) {
    while (cell < places.length - 2 && places[cell + 1] <= x) cell++;
    let last = cell;
    while (last < places.length - 2 && places[last + 1] < x + 1) last++;
    found.push(places[0] >= x + 1 || places[places.length - 1] <= x ? null : [cell, last]);
  }
  return found;
}

class HeatMap {
  constructor(holder, run, hover, choose) {
    Object.assign(this, { run, image: document.createElement("canvas"), chart: chartIn(holder), holder });
    const place = (at) => at && { frame: this.profile.frame(Math.floor(at[0])), layer: Math.round(at[1]) };
    onPointer(this.chart, (at) => hover(run, place(at)), (at) => at && choose(run, place(at)));
  }

  show(profile, scale, end, findings) {
    Object.assign(this, { profile, scale });
    this.colours = Object.fromEntries(Object.entries(STATE_NAMES).map(([state, name]) => [state, rgb(colour(name))]));
    this.usual = usualLogs(profile);
    this.painted = null;
    const count = profile.layers.length, bare = { splitLine: { show: false } }, { clientWidth: wide, clientHeight: tall } = this.holder;
    const across = stepTicks(wide - 132), up = layerTicks(tall - 66, 20);
    markWithZoom(this.chart, [
      { name: "xAxis", zoom: 0, min: 0, max: end, places: across }, { name: "yAxis", zoom: 1, min: -0.5, max: count - 0.5, places: up },
    ]);
    this.chart.setOption({
      ...BASE,
      grid: { ...GRID, top: 8, bottom: 58 },
      xAxis: valueAxis(0, end, across, thousands, bare),
      yAxis: valueAxis(-0.5, count - 0.5, up, layerLabels(profile.layers, 14), bare),
      dataZoom: [
        zooming({ xAxisIndex: 0 }), zooming({ yAxisIndex: 0 }),
        { type: "slider", xAxisIndex: 0, height: 14, bottom: 10, filterMode: "none", showDetail: false, brushSelect: false, borderColor: colour("line"), fillerColor: colour("grid"), backgroundColor: "transparent", dataBackground: { lineStyle: { opacity: 0 }, areaStyle: { opacity: 0 } }, handleSize: "90%", moveHandleSize: 0 },
      ],
      series: [
        { type: "custom", id: "cells", clip: true, silent: true, data: [[0, 0]], renderItem: (params, api) => this.cells(params.coordSys, api, end) },
        { type: "line", id: "findings", ...still, data: [], z: 5, markArea: { z: 5, silent: true, data: findings } },
        { type: "line", id: "cursor", ...still, data: [] },
      ],
    }, true);
  }

  // Lines at the chosen frame and layer.
  cursor(step, layer) {
    const data = [{ xAxis: step }];
    if (layer !== null) data.push({ yAxis: layer });
    const line = { color: colour("ink"), width: 1, type: [4, 3] };
    this.chart.setOption({ series: [{ id: "cursor", markLine: { ...still, label: { show: false }, lineStyle: line, data } }] });
  }

  // The visible part of all cells as one image of as many pixels as the screen has there.
  cells(box, api, end) {
    const ratio = window.devicePixelRatio || 1, wide = Math.max(Math.round(box.width * ratio), 1), tall = Math.max(Math.round(box.height * ratio), 1);
    const { profile } = this, count = profile.layers.length;
    const x = [...profile.steps, Math.min(this.run.last + 1, end)].map((step) => (api.coord([step, 0])[0] - box.x) * ratio);
    const top = api.coord([0, count - 0.5])[1], each = (api.coord([0, -0.5])[1] - top) / count;
    const y = Array.from({ length: count + 1 }, (_, i) => (top + i * each - box.y) * ratio);
    const shown = [wide, tall, x[0], x[x.length - 1], y[0], y[count]].join();
    if (shown !== this.painted) this.paint(wide, tall, cellsUnder(x, wide), cellsUnder(y, tall)); // a cursor alone paints nothing
    this.painted = shown;
    return { type: "image", style: { image: this.image, x: box.x, y: box.y, width: box.width, height: box.height } };
  }

  // Where several cells share a pixel the one shows that stands out most: NaN, infinity, zero, then the furthest from usual.
  paint(wide, tall, columns, rows) {
    const { profile, usual, scale, colours } = this, count = profile.layers.length;
    Object.assign(this.image, { width: wide, height: tall });
    const context = this.image.getContext("2d"), image = context.createImageData(wide, tall), shades = new Map();
    const prominence = (i, layer) => {
      const { state, log } = profile.peak(i);
      if (state !== FINITE) return state === ABSENT ? -1 : state;
      const distance = Math.abs(log - usual[layer]);
      return distance / (1 + distance);
    };
    for (let px = 0, before = null, at = null; px < wide; px++) {
      const column = columns[px];
      if (!column) continue;
      if (!before || column[0] !== before[0] || column[1] !== before[1]) {
        at = new Int32Array(count);
        for (let layer = 0; layer < count; layer++) {
          let best = column[0] * count + layer;
          for (let f = column[0] + 1, most = prominence(best, layer); f <= column[1]; f++) {
            const score = prominence(f * count + layer, layer);
            if (score > most) { most = score; best = f * count + layer; }
          }
          at[layer] = best;
        }
        before = column;
      }
      for (let py = 0; py < tall; py++) {
        if (!rows[py]) continue;
        const [first, last] = rows[py].map((row) => count - 1 - row);
        let best = at[first];
        for (let layer = first - 1, most = prominence(best, first); layer >= last; layer--) {
          const score = prominence(at[layer], layer);
          if (score > most) { most = score; best = at[layer]; }
        }
        const { state, log } = profile.peak(best);
        if (state === ABSENT) continue;
        const key = state === FINITE ? Math.round(log * 64) : -1e6 - state;
        let shade = shades.get(key);
        if (!shade) shades.set(key, (shade = state === FINITE ? scale.of(log) : state === ZERO && scale.low === 0 ? scale.of(-Infinity) : colours[state]));
        const to = (py * wide + px) * 4, dotted = state !== FINITE && hatched(state, px, py);
        image.data[to] = dotted ? 255 : shade[0];
        image.data[to + 1] = dotted ? 255 : shade[1];
        image.data[to + 2] = dotted ? 255 : shade[2];
        image.data[to + 3] = 255;
      }
    }
    context.putImageData(image, 0, 0);
  }
}

// Which pixels of a special state are white: for eyes and printers without colour each has its own pattern.
function hatched(state, x, y) {
  if (state === NAN) return (x + y) % 9 === 0 || (x - y + 9000) % 9 === 0;
  if (state === INF) return (x + y) % 9 === 0;
  if (state === ZERO) return x % 8 === 0 && y % 8 === 0;
  return state === UNDERFLOW && y % 8 === 0;
}

// The mean log10 of each layer.
function usualLogs(profile) {
  const count = profile.layers.length, { values, states } = profile.arrays, sums = new Float64Array(count), counted = new Float64Array(count);
  for (let i = 0; i < values.length; i++) {
    if (states[i] !== FINITE && states[i] !== UNDERFLOW) continue;
    sums[i % count] += values[i];
    counted[i % count]++;
  }
  return sums.map((sum, layer) => sum / Math.max(counted[layer], 1));
}

// The colours' scale, and one entry for each special state that occurs.
function mapLegend(holder, profiles, scale) {
  const ramp = element("canvas", { class: "ramp", width: 130, height: 12, "aria-hidden": "true" }), context = ramp.getContext("2d");
  for (let x = 0; x < 130; x++) {
    const share = scale.low + (scale.high - scale.low) * x / 129;
    context.fillStyle = `rgb(${scale.of(profiles[0].scale === "share" ? Math.log10(x / 129) : share)})`;
    context.fillRect(x, 0, 1, 12);
  }
  const entries = [element("span", {}, `${profiles[0].unit}: ${scale.ticks[0]}`, ramp, scale.middle ? `(grey: ${scale.middle}) ` : "", scale.ticks[1])];
  const since = new Map();
  for (const profile of profiles) for (const [state, step] of profile.extent.since) since.set(state, Math.min(step, since.get(state) ?? step));
  for (const [state, step] of [...since].sort((a, b) => b[0] - a[0])) {
    if (state === ZERO && scale.low === 0) continue;
    const swatch = element("canvas", { width: 26, height: 12, "aria-hidden": "true" }), drawn = swatch.getContext("2d");
    drawn.fillStyle = colour(STATE_NAMES[state]);
    drawn.fillRect(0, 0, 26, 12);
    drawn.fillStyle = "#fff";
    for (let x = 0; x < 26; x++) for (let y = 0; y < 12; y++) if (hatched(state, x, y)) drawn.fillRect(x, y, 1, 1);
    entries.push(element("span", {}, swatch, state === ABSENT ? STATE_WORDS[state] : `${STATE_WORDS[state]} (from step ${thousands(step)})`));
  }
  holder.replaceChildren(...entries);
}
