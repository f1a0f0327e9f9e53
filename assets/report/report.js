// Puts everything in its place.

const view = JSON.parse(document.getElementById('data').textContent);

function curves(run, root) {
  const find = (key) => root.querySelector(`[data-chart="${key}"]`);
  if (!find('loss')) return;
  const { curves: of, best } = run;
  const linked = [];
  const line = (name, mark, ys) => ({ name, mark, xs: of.epoch, ys });
  const validates = of.valid_loss.some((value) => value !== null);
  const pair = (key, title, format, more) => {
    const series = [line('train', 's-train', of[`train_${key}`])];
    if (validates) series.push(line('validation', 's-valid', of[`valid_${key}`]));
    legend(find(key), series);
    const chart = { series, format, best, bestOf: series[1], linked, ...more };
    return new LineChart(find(key), chart);
  };
  pair('loss', 'Loss', show.four);
  pair('accuracy', 'Accuracy', show.four);
  const single = (key, name, format, more) =>
    new LineChart(find(key), { series: [line(name, 's-one', of[key])], format, best, linked, ...more });
  const rates = { fromZero: true, tickFormat: (value) => (value === 0 ? '0' : show.rate(value)) };
  single('learning_rate', 'learning rate', show.rate, rates);
  single('seconds', 'time', show.seconds, { fromZero: true });
}

function legend(figure, series) {
  const items = series.map(({ name, mark }) =>
    el('li', {}, el('i', { class: `swatch ${mark}` }), name),
  );
  figure.querySelector('figcaption').after(el('ul', { class: 'legend' }, ...items));
}

// The curves of all runs in one chart each for loss and accuracy, with runs that can be left out.
function overlay(root) {
  const tools = document.getElementById('overlay-tools');
  const off = new Set();
  let split = 'valid';
  const line = (run, index, key) => ({
    name: run.name,
    mark: `s-${index % 8}${index >= 8 ? ' dashed' : ''}`,
    xs: run.curves.epoch,
    get ys() {
      const validates = run.curves.valid_loss.some((value) => value !== null);
      return run.curves[`${validates ? split : 'train'}_${key}`];
    },
    isOn: () => !off.has(index),
  });
  const runs = view.runs.filter((run) => run.curves.epoch.length > 0);
  if (runs.length === 0) return;
  const linked = [];
  const charts = ['loss', 'accuracy'].map((key) => {
    const figure = root.querySelector(`[data-chart="overlay_${key}"]`);
    const series = runs.map((run, index) => line(run, index, key));
    return new LineChart(figure, { series, format: show.four, linked });
  });
  const redraw = () => charts.forEach((chart) => chart.draw(true));
  const splits = [['valid', 'validation'], ['train', 'training']];
  const choose = (value) => {
    split = value;
    redraw();
  };
  const toggles = runs.map((run, index) => {
    const button = el('button', { type: 'button', class: 'toggle', 'aria-pressed': 'true' });
    button.append(el('i', { class: `swatch s-${index % 8}${index >= 8 ? ' dashed' : ''}` }), bdi(run.name));
    button.addEventListener('click', () => {
      if (off.has(index)) off.delete(index);
      else off.add(index);
      button.setAttribute('aria-pressed', String(!off.has(index)));
      redraw();
    });
    return button;
  });
  const legendBox = el('div', { class: 'toggles', role: 'group', 'aria-label': 'Runs in the charts' }, ...toggles);
  tools.append(choice('Show', splits, 'valid', choose), legendBox);
}

function startRun(run) {
  const part = (key) => document.getElementById(`${run.id}-${key}`);
  const root = document.getElementById(run.id) ?? document;
  curves(run, root);
  const figure = root.querySelector('[data-chart="calibration"]');
  if (figure) {
    legend(figure, [
      { name: 'accuracy', mark: 's-amount' },
      { name: 'gap to the confidence', mark: 's-gap' },
    ]);
    new CalibrationChart(figure, run.bins);
  }
  if (part('matrix')) new MatrixGrid(run, part('matrix'), part('cell'), part('matrix-tools'));
  if (part('worst')) worst(run, part('worst'));
  if (part('samples')) samples(run, part('samples'));
}

function start() {
  document.querySelectorAll('table[data-sort]').forEach(makeSortable);
  document.querySelectorAll('.scroll').forEach(watchScrolling);
  document.querySelectorAll('.copy').forEach(copyButton);
  const several = document.querySelector('[data-view=overlay]');
  if (several) overlay(several);
  for (const run of view.runs) {
    const details = document.getElementById(run.id);
    // What is folded is drawn when it is unfolded.
    if (!details || details.open) startRun(run);
    else details.addEventListener('toggle', () => startRun(run), { once: true });
  }
  if ('live' in document.body.dataset) liveReload();
  window.addEventListener('hashchange', openTarget);
  if (location.hash) openTarget();
  document.documentElement.dataset.ready = '';
}

start();
