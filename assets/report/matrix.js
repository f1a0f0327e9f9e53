// The confusion matrix as a grid: arrow keys walk, Enter or a click shows the images of a cell.

// Images that are shown at once.
const atOnce = () => (window.innerWidth < 700 ? 4 : 12);

class MatrixGrid {
  constructor(run, table, place, tools) {
    Object.assign(this, { run, table, place });
    this.unit = 'percent';
    this.photos = run.gallery.images.map(unpack);
    this.rows = [...table.tBodies[0].rows].map((row) => [...row.cells].slice(1));
    this.readout = el('p', { class: 'readout' }, 'Choose a cell to see its images.');
    const units = [['percent', 'per cent'], ['counts', 'counts']];
    tools.append(choice('Show', units, 'percent', (unit) => this.showIn(unit)), this.readout);
    this.status = el('p', { class: 'hidden', role: 'status' });
    this.place.before(this.status);
    this.makeGrid();
    this.open(...this.mostFrequentMistake(), false);
  }

  makeGrid() {
    this.table.setAttribute('role', 'grid');
    this.table.setAttribute('aria-label', 'Confusion matrix: rows are actual classes, columns predicted ones');
    for (const row of this.table.rows) row.setAttribute('role', 'row');
    this.table.tHead.rows[0].cells[0].setAttribute('role', 'gridcell');
    this.rows.forEach((cells, row) =>
      cells.forEach((cell, column) => {
        cell.setAttribute('role', 'gridcell');
        cell.setAttribute('tabindex', '-1');
        cell.setAttribute('aria-label', this.words(row, column));
      }),
    );
    const from = (event) => {
      const cell = event.target.closest('td[role=gridcell]');
      const row = this.rows.findIndex((cells) => cells.includes(cell));
      return row < 0 ? null : [row, this.rows[row].indexOf(cell)];
    };
    const on = (name, act) =>
      this.table.addEventListener(name, (event) => {
        const at = from(event);
        if (at) act(at, event);
      });
    on('click', (at) => this.open(...at, true));
    on('pointerover', (at) => this.read(at));
    on('focusin', (at) => this.read(at));
    on('keydown', (at, event) => this.key(at, event));
    this.table.addEventListener('pointerleave', () => this.read(this.opened));
  }

  count(row, column) {
    return this.run.matrix.counts[row][column];
  }

  part(row, column) {
    return this.count(row, column) / Math.max(1, this.run.matrix.support[row]);
  }

  names(row, column) {
    const { classes } = this.run.matrix;
    return [this.run.class_names[classes[row]], this.run.class_names[classes[column]]];
  }

  words(row, column) {
    const [actual, predicted] = this.names(row, column);
    const what = row === column ? `${actual} recognised` : `${actual} taken for ${predicted}`;
    return `${what}: ${show.images(this.count(row, column))}, ${show.percent(this.part(row, column))} of ${actual}`;
  }

  read([row, column]) {
    this.readout.textContent = this.words(row, column);
  }

  showIn(unit) {
    this.unit = unit;
    this.rows.forEach((cells, row) =>
      cells.forEach((cell, column) => {
        const n = this.count(row, column);
        const percent = (100 * this.part(row, column)).toFixed(1);
        const text = unit === 'counts' ? show.count(n) : percent;
        cell.textContent = n === 0 ? '' : text;
      }),
    );
  }

  mostFrequentMistake() {
    let best = [0, Math.min(1, this.rows.length - 1)];
    this.run.matrix.counts.forEach((counts, row) =>
      counts.forEach((n, column) => {
        if (row !== column && n > this.count(...best)) best = [row, column];
      }),
    );
    return best;
  }

  key([row, column], event) {
    const last = this.rows.length - 1;
    const moves = {
      ArrowUp: [row - 1, column],
      ArrowDown: [row + 1, column],
      ArrowLeft: [row, column - 1],
      ArrowRight: [row, column + 1],
      Home: [event.ctrlKey ? 0 : row, 0],
      End: [event.ctrlKey ? last : row, last],
    };
    if (event.key === 'Enter' || event.key === ' ') this.open(row, column, true);
    else if (event.key in moves) this.walk(moves[event.key].map((at) => Math.max(0, Math.min(last, at))));
    else return;
    event.preventDefault();
  }

  walk([row, column]) {
    this.table.querySelector('td[tabindex="0"]')?.setAttribute('tabindex', '-1');
    this.rows[row][column].setAttribute('tabindex', '0');
    this.rows[row][column].focus();
  }

  open(row, column, asked) {
    const cell = this.rows[row][column];
    this.table.querySelector('[aria-selected=true]')?.removeAttribute('aria-selected');
    this.table.querySelector('td[tabindex="0"]')?.setAttribute('tabindex', '-1');
    cell.setAttribute('aria-selected', 'true');
    cell.setAttribute('tabindex', '0');
    this.opened = [row, column];
    this.read(this.opened);
    this.fill(row, column, asked);
    if (asked && this.place.getBoundingClientRect().top > window.innerHeight - 120) scrollTo(this.place);
  }

  // The images of a cell, the highest loss first.
  fill(row, column, asked) {
    const { classes } = this.run.matrix;
    const [actual, predicted] = [classes[row], classes[column]];
    const isHere = (photo) => photo.label === actual && photo.predicted === predicted;
    const photos = this.photos.filter(isHere).sort((a, b) => b.loss - a.loss);
    const n = this.count(row, column);
    const [actualName, predictedName] = this.names(row, column);
    const isRight = row === column;
    const title = el(
      'p',
      { class: 'cell-title' },
      bdi(actualName),
      isRight ? ' recognised' : ' taken for ',
      isRight ? null : bdi(predictedName),
    );
    const list = el('div', { class: 'photos', role: 'region', 'aria-label': 'Images of the cell' });
    const shown = el('p', { class: 'note' });
    const more = el('button', { type: 'button' });
    const add = () => {
      const from = list.children.length;
      list.append(...photos.slice(from, from + atOnce()).map((photo) => photoCard(this.run, photo, 12)));
      const now = list.children.length;
      const text = n === 0 ? 'No image.' : `Showing ${now} of ${show.count(n)}, the highest loss first.`;
      const rest = now === photos.length && now < n ? ' The others are not part of this page.' : '';
      shown.textContent = this.run.images_missing && n > 0 ? this.run.images_missing : text + rest;
      more.hidden = now >= photos.length;
      more.textContent = `Show ${Math.min(atOnce(), photos.length - now)} more`;
    };
    more.addEventListener('click', () => {
      const next = list.children.length;
      add();
      this.status.textContent = shown.textContent;
      list.children[next].setAttribute('tabindex', '-1');
      list.children[next].focus();
    });
    add();
    const signs = photos.length > 0 ? keyToSigns() : null;
    this.place.replaceChildren(title, ...[shown, signs, list, more].filter(Boolean));
    watchScrolling(list);
    if (asked) this.status.textContent = `${this.words(row, column)}. ${shown.textContent}`;
  }
}
