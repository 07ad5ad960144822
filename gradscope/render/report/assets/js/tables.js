// The same numbers as tables, made when they are opened: what eyes do not see is read.

function whenOpen(details, make) {
  const fill = () => { if (details.open) details.querySelector(".scroll").replaceChildren(make()); };
  details.addEventListener("toggle", fill);
  return fill;
}

function profileTable(curves) {
  const { axis, layers } = longest(curves);
  const head = [axis, ...curves.map(({ run, profile, frame }) => `${plain(run.label, 30)}, step ${thousands(profile.steps[frame])}`)];
  const cell = ({ profile, frame }, i) => (i < profile.layers.length ? number(profile.at(frame, i).value) : "");
  return table(head, layers.map((name, i) => [plain(name), ...curves.map((curve) => cell(curve, i))]));
}

function seriesTable(columns) {
  const shown = runs.flatMap((run) => columns.filter((c) => run.series.has(c)).map((c) => [run, run.series.get(c)]));
  const steps = [...new Set(shown.flatMap(([, series]) => spread(series.steps.length, 40).map((i) => series.steps[i])))].sort((a, b) => a - b);
  const head = ["step", ...shown.map(([run, series]) => (runs.length > 1 ? `${plain(run.label, 30)}: ${series.name}` : series.name))];
  const exact = (series, step) => { const at = series.at(step); return at.step === step ? number(at.value) : ""; };
  return table(head, steps.map((step) => [thousands(step), ...shown.map(([, series]) => exact(series, step))]));
}

function causeTable(found, frame) {
  const row = (name, value) => [name, ...found.kinds.map((_, k) => number(value(k)))];
  return table(["link", ...found.words], [
    row("all", (k) => found.total(frame, k)),
    ...found.layers.map((name, link) => row(`${plain(found.from[link])} → ${plain(name)}`, (k) => found.at(frame, link, k))),
  ]);
}
