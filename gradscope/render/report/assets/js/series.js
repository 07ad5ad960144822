// What one number did over the steps, with the events under it.

const VIEWS = { Loss: ["loss", "validation_loss"], Accuracy: ["accuracy", "validation_accuracy"], "Gradient norm": ["total_norm", "clipped_norm"], Update: ["relative_update"], "Learning rate": ["lr"], "Loss scale": ["loss_scale"] };
const EVENT_WORDS = { nonfinite: "not finite", spikes: "spike", skipped: "skipped step", clipped: "clipped" };
const EVENT_COLOURS = { nonfinite: "nan", spikes: "warning", skipped: "underflow", clipped: "quiet" };
const WIDE = 20; // ratio of largest to smallest from which the axis is logarithmic, as in the figures

class SeriesChart {
  constructor(holder, hover) {
    this.chart = chartIn(holder);
    onPointer(this.chart, (at) => hover(at && Math.max(Math.round(at[0]), 0)));
  }

  show(columns, end, step, findings, linear) {
    const look = axisLook(), lanes = runs.flatMap((run) => Object.keys(run.events).map((kind) => ({ run, kind })));
    const shown = runs.flatMap((run) => columns.filter((c) => run.series.has(c)).map((c) => ({ run, column: c, series: run.series.get(c) })));
    const values = shown.flatMap(({ series }) => [...series.values].filter((v, i) => series.states[i] < INF));
    const least = Math.min(...values), most = Math.max(...values), log = !linear && least > 0 && most / least > WIDE;
    const place = (v) => (log ? Math.log10(v) : v), pad = Math.max((place(most) - place(least)) * 0.06, log ? 0.15 : Math.abs(most) * 0.1 || 0.1);
    const [low, high] = values.length ? [place(least) - pad, place(most) + pad] : [0, 1];
    const broken = shown.some(({ series }) => series.states.some((s) => s >= INF)), above = high + (high - low) * 0.08;
    const upright = log ? logTicks(low, high, 6) : roundTicks(low, high, 5), across = stepTicks(this.chart.getWidth() - 132);
    const foot = 22 + lanes.length * 16;
    const lines = shown.flatMap(({ run, column, series }, i) => {
      const paint = runs.length > 1 ? runColour(run.index) : colour(column.startsWith("validation") ? "run-1" : "run-0"), second = column !== columns[0];
      const points = [...series.steps].map((s, j) => [s, series.states[j] < INF ? place(series.values[j]) : null]);
      const special = [...series.steps].flatMap((s, j) => (series.states[j] >= INF ? [{ value: [s, above], symbol: series.states[j] === NAN ? "diamond" : "triangle", itemStyle: { color: colour(STATE_NAMES[series.states[j]]) } }] : []));
      return [
        { type: "line", id: `line-${i}`, data: points, silent: true, showSymbol: second || points.length < 13, symbolSize: 5, symbol: second ? "emptyCircle" : "circle", itemStyle: { color: paint }, lineStyle: { color: paint, width: second ? 1.2 : 1.6, type: second ? [3, 3] : DASHES[run.index % 4] } },
        { type: "scatter", id: `special-${i}`, data: special, silent: true, symbolSize: 6 },
      ];
    });
    const spans = findings.filter((f) => f.show.chart === "series" && f.steps[1] - f.steps[0] < end - 1).map((f) => [{ xAxis: f.steps[0], itemStyle: { color: colour(f.severity), opacity: 0.09 } }, { xAxis: f.steps[1] + 1 }]);
    const steps = (gridIndex, more) => valueAxis(0, end, across, thousands, { gridIndex, splitLine: { show: false }, ...more });
    markWithZoom(this.chart, [{ name: "xAxis", count: 2, zoom: 0, min: 0, max: end, places: across }]);
    const named = { name: "training step", nameLocation: "middle", nameGap: 26 };
    this.chart.setOption({
      ...BASE,
      grid: [{ ...GRID, top: 12, bottom: 26 + foot }, { ...GRID, height: Math.max(lanes.length * 16, 1), bottom: 44 }],
      xAxis: [
        steps(0, lanes.length ? { axisLabel: { show: false } } : named),
        steps(1, { show: lanes.length > 0, ...named }),
      ],
      yAxis: [
        valueAxis(low, broken ? above + (high - low) * 0.04 : high, () => upright, log ? logLabel : (at) => number(at, 6), { gridIndex: 0 }),
        { type: "category", gridIndex: 1, inverse: true, data: lanes.map((lane, i) => String(i)), axisLine: { show: false }, axisTick: { show: false }, axisLabel: { color: colour("quiet"), fontSize: 11, interval: 0, formatter: (i) => (lanes[i] ? EVENT_WORDS[lanes[i].kind] : "") } },
      ],
      dataZoom: [zooming({ xAxisIndex: [0, 1] })],
      series: [
        ...lines,
        ...lanes.map(({ run, kind }, i) => laneOf(run.events[kind], i, runs.length > 1 ? runColour(run.index) : colour(EVENT_COLOURS[kind]))),
        { type: "line", id: "findings", ...still, data: [], markArea: { silent: true, data: spans } },
        { type: "line", id: "cursor", ...still, data: [] },
      ],
    }, true);
    this.columns = columns;
    this.cursor(step);
  }

  cursor(step) {
    const line = { color: colour("ink"), width: 1, type: [4, 3] };
    this.chart.setOption({ series: [{ id: "cursor", markLine: { ...still, label: { show: false }, lineStyle: line, data: [{ xAxis: step }] } }] });
  }
}

// One lane of events: a bar for each stretch of steps, never narrower than can be seen.
function laneOf(stretches, lane, paint) {
  return {
    type: "custom", id: `lane-${lane}`, xAxisIndex: 1, yAxisIndex: 1, silent: true, clip: true, encode: { x: [0, 1], y: 2 }, data: stretches.map(([a, b]) => [a, b + 1, lane]),
    renderItem: (params, api) => {
      const [left, y] = api.coord([api.value(0), lane]), [right] = api.coord([api.value(1), lane]);
      return { type: "rect", shape: { x: left, y: y - 5, width: Math.max(right - left, 1.5), height: 10 }, style: { fill: paint } };
    },
  };
}
