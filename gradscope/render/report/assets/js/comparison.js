// Runs held against the first: outcomes, findings gone, new or worse, and what was set up differently. And the config.

function showComparison(section, holder) {
  const found = report.comparison;
  section.hidden = !found;
  if (!found) return;
  const names = runs.map((run) => plain(run.label, 40)), parts = [wide(table(["", ...names], found.outcomes.map(([name, cells]) => [name, ...cells]))),
    element("p", { class: "quiet small" }, found.how)];
  found.changes.forEach((changes, i) => {
    parts.push(element("h3", {}, `From ${names[0]} to ${names[i + 1]}`));
    parts.push(element("ul", { class: "changes" }, ...changes.map((change) => element("li", { class: change.kind },
      element("strong", {}, change.kind),
      element("div", {}, `${change.severity} ${change.finding}`, ...change.evidence.map((line) => element("div", { class: "quiet small" }, plain(line))))))));
    if (!changes.length) parts.push(element("p", { class: "quiet" }, "Nothing was found in either."));
  });
  parts.push(element("h3", {}, "What was set up differently"));
  parts.push(found.differences.length
    ? scrolled(table(["", "", ...names], found.differences.map(([section, path, values]) => [section, plain(path), ...values.map((v) => plain(v))])))
    : element("p", { class: "quiet" }, "Nothing that was recorded."));
  holder.replaceChildren(...parts);
}

function showConfig(holder) {
  const parts = runs.flatMap((run) => {
    const title = runs.length > 1 ? `${plain(run.label, 40)}: ${run.config.length} keys` : `${run.config.length} keys`;
    if (!run.config.length) return [];
    return [element("details", { open: runs.length === 1 && run.config.length <= 60 }, element("summary", {}, title),
      wide(table(["key", "value"], run.config.map(([path, value]) => [plain(path), plain(value)]))))];
  });
  const notes = runs.flatMap((run) => run.notes.map((note) => element("p", { class: "quiet" }, `note: ${plain(note)}`)));
  holder.replaceChildren(...(parts.length ? parts : [element("p", { class: "quiet" }, "Nothing is recorded of how it was set up.")]), ...notes);
}

const scrolled = (content) => element("div", { class: "scroll" }, content);
const wide = (content) => element("div", { class: "wide" }, content);
