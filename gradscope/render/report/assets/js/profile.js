// The profile: sizes by layer at the chosen step, on a logarithmic or a linear axis, with shelves for what has no place on it.

class ProfileChart {
  constructor(holder, hover, choose) {
    this.chart = chartIn(holder);
    onPointer(this.chart, (at) => hover(at && Math.round(at[0])), (at) => at && choose(Math.round(at[0])));
  }

  // `curves`: { run, profile, frame }, one per run; `findings`: of the first run, where they stand among the layers.
  show(curves, logarithmic, findings, matches) {
    const { profile } = curves[0], count = Math.max(...curves.map((c) => c.profile.layers.length)), along = layerTicks(this.chart.getWidth() - 132, 110);
    const share = profile.scale === "share", log = logarithmic && !share;
    const heights = this.heights(curves, log, findings);
    const series = curves.flatMap((curve, i) => this.curve(curve, log, heights, i, curves.length));
    const marks = limits(findings, curves[0]).map(({ f, at, of }) => ({ f, at: log ? at : 10 ** at, of }));
    const away = (layer) => (marks.length ? Math.abs(profile.at(curves[0].frame, layer).log - limits(findings, curves[0])[0].at) || 0 : 0);
    const end = away(0) > away(count - 1) ? "Start" : "End"; // words on a threshold stand where the curve is further from it
    series.push({
      type: "line", id: "marks", ...still, data: [],
      markArea: { silent: true, label: { show: false }, data: findings.flatMap((f) => (f.at[profile.id] || []).map(([a, b]) => [{ xAxis: a - 0.5, itemStyle: { color: colour(f.severity), opacity: 0.07 } }, { xAxis: b + 0.5 }])) },
      markLine: {
        ...still,
        data: [
          ...(profile.scale === "ratio" ? [{ yAxis: log ? 0 : 1, lineStyle: { color: colour("quiet"), type: "solid", width: 1 }, label: { show: false } }] : []),
          ...marks.map(({ f, at, of }, i) => ({ yAxis: at, lineStyle: { color: colour(f.severity), type: [5, 4] }, label: { position: `inside${end}${i % 2 ? "Bottom" : "Top"}`, formatter: `${f.code} threshold ${number(f.threshold)}${this.chart.getWidth() < 600 ? "" : of}`, color: colour(f.severity), fontSize: 11, textBorderColor: colour("paper"), textBorderWidth: 3 } })),
          ...matches.map((at) => ({ xAxis: at, lineStyle: { color: colour("focus"), type: "solid", width: 1, opacity: 0.6 }, label: { show: false } })),
        ],
      },
    }, { type: "line", id: "cursor", ...still, data: [] });
    const steps = profile.axis === "time step", name = { nameLocation: "middle" };
    markWithZoom(this.chart, [{ name: "xAxis", zoom: 0, min: -0.5, max: count - 0.5, places: along }]);
    this.chart.setOption({
      ...BASE,
      grid: { ...GRID, top: 14, bottom: 46 },
      xAxis: valueAxis(-0.5, count - 0.5, along, layerLabels(longest(curves).layers, 16), { ...name, splitLine: { show: false }, axisLabel: { alignMaxLabel: count > 12 ? "right" : "center" }, name: steps ? "time step" : "layer, from input to output", nameGap: 28 }),
      yAxis: valueAxis(heights.min, heights.max, () => heights.ticks, heights.label, { ...name, name: profile.unit, nameGap: 62 }),
      dataZoom: [zooming({ xAxisIndex: 0 })],
      series,
    }, true);
    this.curves = curves;
  }

  // The axis over everything that any step shows, so that it stands still while the step moves.
  heights(curves, log, findings) {
    const { profile } = curves[0], extents = curves.map((c) => c.profile.extent), states = new Set(extents.flatMap((e) => [...e.since.keys()]));
    let low = Math.min(...extents.map((e) => e.low)), high = Math.max(...extents.map((e) => e.high));
    if (!Number.isFinite(low)) [low, high] = [-1, 1];
    if (!log) {
      const most = profile.scale === "share" ? 1 : 10 ** Math.max(...curves.map((c) => this.largest(c))), rest = most * 0.1;
      const above = states.has(INF) || states.has(NAN) ? most + rest : null;
      const ticks = [0, 0.25, 0.5, 0.75, 1].map((t) => t * most);
      return { min: 0, max: above === null ? most * 1.05 : above + rest / 2, zero: 0, above, ticks: above === null ? ticks : [...ticks, above], label: (at) => (at === above ? "inf, NaN" : number(at, 3)) };
    }
    const theory = (curves.length === 1 && profile.theory && theoryLine(profile)) || [];
    for (const at of [...limits(findings, curves[0]).map((limit) => limit.at), ...theory.filter(Number.isFinite)]) [low, high] = [Math.min(low, at), Math.max(high, at)];
    const short = Math.max(2 - (high - low), 0) / 2;
    [low, high] = [Math.floor((low - short) * 2) / 2, Math.ceil((high + short) * 2) / 2];
    const room = (high - low) * 0.07, zero = states.has(ZERO) ? low - room : null, above = states.has(INF) || states.has(NAN) ? high + room : null;
    const ticks = logTicks(low, high);
    if (zero !== null) ticks.push(zero);
    if (above !== null) ticks.push(above);
    const label = (at) => (at === zero ? "0" : at === above ? "inf, NaN" : logLabel(at));
    return { min: zero === null ? low : zero - room / 2, max: above === null ? high : above + room / 2, zero, above, ticks, label };
  }

  largest({ profile, frame }) {
    let most = -300;
    for (let layer = 0; layer < profile.layers.length; layer++) {
      const { log, high } = profile.at(frame, layer);
      most = Math.max(most, Number.isNaN(log) ? most : log, profile.reduced && !Number.isNaN(high) ? high : most);
    }
    return most;
  }

  curve({ run, profile, frame }, log, heights, index, of) {
    const paint = of > 1 ? runColour(run.index) : colour("run-0"), place = (x) => (log ? x : 10 ** x), line = [], special = [], band = [];
    for (let layer = 0; layer < profile.layers.length; layer++) {
      const at = profile.at(frame, layer), sized = at.state === FINITE || at.state === UNDERFLOW;
      line.push([layer, sized ? place(at.log) : null]);
      if (at.state === ZERO) special.push({ value: [layer, heights.zero], itemStyle: { borderColor: colour("ink") } });
      if (at.state >= INF) special.push({ value: [layer, heights.above], itemStyle: { borderColor: colour(STATE_NAMES[at.state]) }, symbol: at.state === NAN ? "diamond" : "triangle" });
      if (profile.reduced && Number.isFinite(at.low)) band.push([layer, place(at.low), place(at.high)]);
    }
    const made = [];
    if (profile.chance && log && of === 1) made.push(ribbon("chance", profile.chance.map((factor, i) => [i, -Math.log10(factor), Math.log10(factor)]), colour("chance"), 1));
    if (band.length) made.push(ribbon(`band-${index}`, band, paint, 0.22));
    made.push({ type: "line", id: `curve-${index}`, data: line, silent: true, showSymbol: profile.layers.length <= 60, symbol: SYMBOLS[index % 4], symbolSize: 5, itemStyle: { color: paint }, lineStyle: { color: paint, width: 2, type: DASHES[index % 4] }, z: 3 });
    const theory = profile.theory && of === 1 && theoryLine(profile);
    if (theory) made.push({ type: "line", id: "theory", data: theory.map((x, layer) => [layer, Number.isFinite(x) ? place(x) : null]), silent: true, showSymbol: false, lineStyle: { color: colour("ink"), width: 1.5, type: [2, 3] }, z: 4 });
    made.push({ type: "scatter", id: `special-${index}`, data: special, silent: true, symbolSize: 8, itemStyle: { color: paint, borderWidth: 1.5 }, z: 4 });
    return made;
  }

  cursor(layer) {
    const line = { color: colour("ink"), width: 1, type: [4, 3] };
    this.chart.setOption({ series: [{ id: "cursor", markLine: { ...still, label: { show: false }, lineStyle: line, data: layer === null ? [] : [{ xAxis: layer }] } }] });
  }
}

// Where findings have their thresholds among the sizes shown, as log10. A ratio of the gradient to that of one layer stands
// at so much of it in the gradient itself.
function limits(findings, { profile, frame }) {
  const reference = { backward_ratio: profile.layers.length - 1, hidden_backward_ratio: profile.layers.length - 2 };
  return findings.flatMap((f) => {
    if (f.threshold === null) return [];
    if (f.signal === profile.id) return [{ f, at: Math.log10(f.threshold), of: "" }];
    const layer = profile.id === "backward_norm" ? reference[f.signal] : undefined;
    const size = layer >= 0 ? profile.at(frame, layer).log : NaN;
    return Number.isFinite(size) ? [{ f, at: Math.log10(f.threshold) + size, of: ` of the gradient at ${plain(profile.layers[layer], 24)}` }] : [];
  });
}

// What theory predicted before the first step, from the first step's gradient at the last layer on.
function theoryLine(profile) {
  const head = profile.at(0, profile.layers.length - 1).log;
  return Number.isFinite(head) ? [...profile.theory].map((log) => log + head) : null;
}

const longest = (curves) => curves.reduce((a, b) => (b.profile.layers.length > a.profile.layers.length ? b : a)).profile;

// A filled band of points [x, low, high].
function ribbon(id, points, paint, opacity) {
  return {
    type: "custom", id, silent: true, clip: true, data: [[points[0][0], points[0][1]]], z: 1,
    renderItem: (params, api) => ({
      type: "polygon",
      shape: { points: [...points.map(([x, low]) => api.coord([x, low])), ...[...points].reverse().map(([x, , high]) => api.coord([x, high]))] },
      style: { fill: paint, opacity },
    }),
  };
}
