// Images from the sprite sheets, with what the model says of them.

const loaded = new Map();

function loadSheet(url) {
  if (!loaded.has(url)) {
    const image = new Image();
    image.src = url;
    loaded.set(url, image.decode().then(() => image));
  }
  return loaded.get(url);
}

// Tile `n` on a canvas of its own size. Small ones show whole pixels, larger ones are smoothed.
function tile(sheets, n, side, label) {
  const { width, height, columns, rows, reduced } = sheets;
  const canvas = el('canvas', { width, height, role: 'img', 'aria-label': label });
  const fits = side / Math.max(width, height);
  const isExact = !reduced && fits >= 2;
  canvas.style.width = `${Math.round(width * (isExact ? Math.floor(fits) : fits))}px`;
  canvas.classList.add(isExact ? 'exact' : 'smooth');
  const perSheet = columns * rows;
  const at = n % perSheet;
  loadSheet(sheets.urls[Math.floor(n / perSheet)]).then((image) => {
    const [x, y] = [(at % columns) * width, Math.floor(at / columns) * height];
    canvas.getContext('2d').drawImage(image, x, y, width, height, 0, 0, width, height);
    canvas.dataset.drawn = '';
  });
  return canvas;
}

function unpack([index, label, predicted, loss, probabilities], tileNumber) {
  return { index, label, predicted, loss, probabilities, tile: tileNumber };
}

// The actual and the predicted class have a sign and a word of their own, beside their colours.
function bars(run, photo, most) {
  let classes = photo.probabilities;
  if (classes.length > most) {
    const sorted = [...classes].sort((a, b) => b[1] - a[1]);
    classes = sorted.slice(0, most);
    if (!classes.some(([name]) => name === photo.label)) {
      classes[most - 1] = sorted.find(([name]) => name === photo.label);
    }
  }
  const list = el('ul', { class: 'bars' });
  for (const [number, part] of classes) {
    const isActual = number === photo.label;
    const isPredicted = number === photo.predicted;
    const kind = [isActual && 'actual', isPredicted && 'predicted'].filter(Boolean).join(' ');
    const sign = `${isActual ? '✓' : ''}${isPredicted ? '▸' : ''}`;
    const fillBar = el('i', { class: 'fill' });
    fillBar.style.width = `${part / 100}%`;
    const word = kind ? el('span', { class: 'hidden' }, ` (${kind.replace(' ', ' and ')})`) : null;
    list.append(
      el(
        'li',
        { class: kind },
        el('span', { class: 'sign', 'aria-hidden': 'true' }, sign),
        el('span', { class: 'of' }, bdi(run.class_names[number]), word),
        el('span', { class: 'track', 'aria-hidden': 'true' }, fillBar),
        el('span', { class: 'part' }, show.percent(part / 1e4)),
      ),
    );
  }
  return list;
}

function photoCard(run, photo, most) {
  const [actual, predicted] = [run.class_names[photo.label], run.class_names[photo.predicted]];
  const label = `Test image ${photo.index}: actual class ${actual}, predicted ${predicted}`;
  const isRight = photo.label === photo.predicted;
  const caption = el(
    'figcaption',
    {},
    el('b', {}, bdi(actual), isRight ? '' : ' taken for ', isRight ? '' : bdi(predicted)),
    el('span', { class: 'note' }, `test image ${photo.index}, loss ${photo.loss.toFixed(2)}`),
  );
  const picture = tile(run.gallery.sheets, photo.tile, 112, label);
  return el('figure', { class: 'photo' }, picture, caption, bars(run, photo, most));
}

const keyToSigns = () =>
  el(
    'p',
    { class: 'note signs' },
    el('span', { class: 'actual' }, '✓ actual class'),
    ' ',
    el('span', { class: 'predicted' }, '▸ predicted class'),
  );

function worst(run, place) {
  const { images } = run.gallery;
  const wrong = images.map(unpack).filter((photo) => photo.label !== photo.predicted);
  if (wrong.length === 0) {
    const why = run.images_missing || (run.matrix ? 'No image shown here is wrong.' : '');
    place.replaceChildren(el('p', { class: 'note' }, why));
    return;
  }
  wrong.sort((a, b) => b.loss - a.loss);
  const cards = wrong.slice(0, 24).map((photo) => photoCard(run, photo, 3));
  place.replaceChildren(...cards);
  place.before(keyToSigns());
}

function samples(run, place) {
  const { sheets, classes } = run.samples;
  let next = 0;
  for (const [number, n] of classes) {
    const name = run.class_names[number] ?? `class ${number}`;
    const tiles = Array.from({ length: n }, (_, index) => next + index).map((at) =>
      tile(sheets, at, 56, `A training image of ${name}`),
    );
    next += n;
    place.append(el('div', { class: 'sample' }, el('span', { class: 'of' }, bdi(name)), el('div', {}, ...tiles)));
  }
}
