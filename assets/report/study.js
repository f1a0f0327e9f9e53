// Puts everything of a study's page in its place.

const tools = (key) => document.getElementById(`${key}-tools`);
const figureOf = (key) => document.querySelector(`[data-chart="${key}"]`);

function startCurves() {
  const chart = new CurveChart(figureOf('curves'));
  const box = el('div', { class: 'legend-box' });
  const legend = () => box.replaceChildren(chart.legend());
  const colours = [['rung', 'last rung'], ['bracket', 'bracket']];
  const colour = choice('Colour', colours, chart.colour, (value) => {
    chart.colour = value;
    chart.draw(true);
    legend();
  });
  tools('curves').append(colour, rangeChoice(chart), box);
  legend();
}

function startParallel() {
  const said = el('span', { role: 'status', class: 'note' });
  const chart = new ParallelChart(figureOf('parallel'), said);
  const parts = [['1', 'all trials'], ['0.5', 'better half'], ['0.1', 'best tenth']];
  const part = choice('Show', parts, String(chart.part), (value) => {
    chart.part = Number(value);
    chart.draw(true);
  });
  const clear = el('button', { type: 'button', onclick: () => chart.clear() }, 'Clear the ranges');
  const fifths = ['worst fifth', '', '', '', 'best fifth'].map((name, shade) => [`g${shade}`, name]);
  const legend = legendOf('value', [...fifths, ['star', 'the best']]);
  tools('parallel').append(part, rangeChoice(chart), clear, said, legend);
}

// The chosen trial at the lower edge of the window, whatever part of the page is looked at.
function chosenBar() {
  const text = el('p', { role: 'status' });
  const toRow = () => {
    const row = rowOf.get(focused.chosen?.number);
    if (!row) return;
    row.scrollIntoView({ block: 'center', behavior: still.matches ? 'auto' : 'smooth' });
    row.querySelector('button')?.focus({ preventScroll: true });
  };
  const show = el('button', { type: 'button', onclick: toRow }, 'To its row');
  const clear = el('button', { type: 'button', onclick: () => focused.choose(focused.chosen) }, 'Let go');
  const bar = el('aside', { class: 'chosen', 'aria-label': 'Chosen trial', hidden: '' }, text, show, clear);
  document.body.append(bar);
  let marked = null;
  focused.listeners.push((_, chosen) => {
    if (chosen === marked) return;
    rowOf.get(marked?.number)?.classList.remove('chosen-row');
    rowOf.get(chosen?.number)?.classList.add('chosen-row');
    marked = chosen;
    bar.hidden = chosen === null;
    show.hidden = !rowOf.has(chosen?.number);
    text.textContent = chosen ? tell(chosen, allDimensions.slice(0, 4)).words : '';
  });
}

// The number of each trial in the table chooses it in the charts.
function trialButtons() {
  const byNumber = new Map(trials.map((trial) => [trial.number, trial]));
  for (const [number, row] of rowOf) {
    const cell = row.cells[0];
    cell.dataset.v = number;
    const choose = () => focused.choose(byNumber.get(number));
    const label = `trial ${number}: show it in the charts`;
    cell.replaceChildren(el('button', { type: 'button', class: 'pick', 'aria-label': label, onclick: choose }, number));
  }
}

function startCharts() {
  if (figureOf('history')) {
    const chart = new HistoryChart(figureOf('history'));
    tools('history').append(rangeChoice(chart), levelLegend(true));
  }
  if (figureOf('curves')) startCurves();
  if (figureOf('parallel')) startParallel();
  const figures = [...document.querySelectorAll('[data-chart^="value-"]')];
  const charts = figures.map((figure, index) => new ValueChart(figure, index));
  if (charts.length > 0) tools('values').append(rangeChoice(charts), levelLegend(true));
}

function start() {
  trialButtons();
  document.querySelectorAll('table[data-sort]').forEach(makeSortable);
  document.querySelectorAll('.scroll').forEach(watchScrolling);
  document.querySelectorAll('.copy').forEach(copyButton);
  startCharts();
  chosenBar();
  if ('live' in document.body.dataset) liveReload();
  window.addEventListener('hashchange', openTarget);
  if (location.hash) openTarget();
  document.documentElement.dataset.ready = '';
}

start();
