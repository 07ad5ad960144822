// Decades lost and gained from layer to layer, stacked by what they are due to.

const BARS = 120; // of more links neighbours are added up, which decades allow

class Attribution {
  constructor(raw) {
    Object.assign(this, raw);
    this.layers = raw.names.map((i) => report.names[i]);
    this.from = raw.sources.map((i) => report.names[i]);
    this.together = Math.ceil(this.layers.length / BARS);
    this.bars = Math.ceil(this.layers.length / this.together);
    this.decoded = null;
  }

  frame(step) { return lastUpTo(this.steps, step); }

  // Decades of one kind at one link: NaN where it was not recorded.
  at(frame, link, kind) {
    this.decoded ||= floats(this.decades);
    return this.decoded[(frame * this.layers.length + link) * this.kinds.length + kind];
  }

  total(frame, kind, first = 0, last = this.layers.length - 1) {
    let sum = 0;
    for (let link = first; link <= last; link++) sum += this.at(frame, link, kind);
    return sum;
  }

  // The links of one bar, first and last.
  links(bar) { return [bar * this.together, Math.min((bar + 1) * this.together, this.layers.length) - 1]; }

  between(bar, limit) {
    const [first, last] = this.links(bar);
    return `${plain(this.from[first], limit)} → ${plain(this.layers[last], limit)}`;
  }

  // How many decades are due to what, the most first, and end to end.
  said(frame) {
    const lost = (decades) => `${Math.abs(decades).toFixed(1)} decades are ${decades > 0 ? "gained" : "lost"}`;
    const parts = this.words.map((words, kind) => [words, this.total(frame, kind)]);
    const whole = parts.reduce((sum, [, decades]) => sum + decades, 0);
    const untold = this.layers.filter((_, link) => Number.isNaN(this.at(frame, link, 0))).length;
    if (untold) return `${thousands(untold)} of ${thousands(this.layers.length)} links have no finite gradient`;
    const told = parts.filter(([, decades]) => Math.abs(decades) >= 0.05).sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])).map(([words, decades]) => `${lost(decades)} in ${words}`);
    const ends = [told.slice(0, -1).join(", "), told[told.length - 1]].filter(Boolean).join(" and ");
    return told.length ? `${ends}: ${lost(whole)} end to end` : "nothing changes on the gradient's way back";
  }
}

class AttributionChart {
  constructor(holder, hover) {
    this.chart = chartIn(holder);
    onPointer(this.chart, (at) => hover(at && Math.round(at[0])));
  }

  show(found, step) {
    const frame = found.frame(step), look = axisLook(), { bars } = found, upright = (low, high) => roundTicks(low, high, 6);
    const stacks = found.kinds.map((_, kind) => Array.from({ length: bars }, (__, bar) => found.total(frame, kind, ...found.links(bar))));
    const reach = (sign) => Math.max(...Array.from({ length: bars }, (_, bar) => stacks.reduce((sum, of) => sum + Math.max(sign * of[bar] || 0, 0), 0)), 0.1);
    this.chart.setOption({
      ...BASE,
      aria: { enabled: true, decal: { show: bars < BARS / 2 } },
      grid: { ...GRID, top: 12, bottom: 46 },
      xAxis: { type: "category", data: stacks[0].map((_, bar) => bar), ...look, name: "link that ends in layer, from input to output", nameLocation: "middle", nameGap: 28, axisLabel: { ...look.axisLabel, showMinLabel: true, showMaxLabel: true, alignMaxLabel: bars > 12 ? "right" : "center", formatter: (bar) => plain(found.layers[found.links(Number(bar))[1]], 16) } },
      yAxis: valueAxis(-reach(-1) * 1.08, reach(1) * 1.08, upright, (at) => number(at), { name: "decades", nameLocation: "middle", nameGap: 44 }),
      dataZoom: [zooming({ xAxisIndex: 0 })],
      series: [
        ...found.kinds.map((kind, k) => ({ type: "bar", id: kind, stack: "decades", silent: true, barCategoryGap: "20%", itemStyle: { color: colour(`kind-${kind}`) }, data: stacks[k].map((decades) => (Number.isNaN(decades) ? null : decades)) })),
        { type: "line", id: "zero", ...still, data: [], markLine: { ...still, label: { show: false }, lineStyle: { color: colour("quiet"), type: "solid", width: 1 }, data: [{ yAxis: 0 }] } },
      ],
    }, true);
    return frame;
  }
}
