// Decades lost and gained from layer to layer, stacked by what they are due to.

class Attribution {
  constructor(raw) {
    Object.assign(this, raw);
    this.layers = raw.names.map((i) => report.names[i]);
    this.from = raw.sources.map((i) => report.names[i]);
    this.decoded = null;
  }
  frame(step) { return lastUpTo(this.steps, step); }
  // Decades of one kind at one link: NaN where it was not recorded.
  at(frame, link, kind) {
    this.decoded ||= floats(this.decades);
    return this.decoded[(frame * this.layers.length + link) * this.kinds.length + kind];
  }
  total(frame, kind) {
    return this.layers.reduce((sum, _, link) => sum + this.at(frame, link, kind), 0);
  }
}

class AttributionChart {
  constructor(holder, hover) {
    this.chart = chartIn(holder);
    onPointer(this.chart, (at) => hover(at && Math.round(at[0])));
  }

  show(found, step) {
    const frame = found.frame(step), look = axisLook(), count = found.layers.length;
    this.chart.setOption({
      ...BASE,
      aria: { enabled: true, decal: { show: true } },
      grid: { left: 104, right: 16, top: 12, bottom: 46 },
      xAxis: { type: "category", data: found.layers.map((_, i) => String(i)), ...look, name: "link that ends in layer, from input to output", nameLocation: "middle", nameGap: 28, axisLabel: { ...look.axisLabel, interval: (i) => spread(count, Math.max(Math.floor(this.chart.getWidth() / 110), 2)).includes(i), formatter: (i) => plain(found.layers[i], 16) } },
      yAxis: { type: "value", ...look, name: "decades", nameLocation: "middle", nameGap: 44 },
      dataZoom: [zooming({ xAxisIndex: 0 })],
      series: found.kinds.map((kind, k) => ({ type: "bar", id: kind, stack: "decades", silent: true, barCategoryGap: count > 80 ? "0%" : "20%", itemStyle: { color: colour(`kind-${kind}`) }, data: found.layers.map((_, link) => { const v = found.at(frame, link, k); return Number.isNaN(v) ? null : v; }) })),
    }, true);
    return frame;
  }
}
