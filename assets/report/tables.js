// Tables that sort: a button in each head, aria-sort says how.

function sortsBy(cell) {
  const number = cell.dataset.v;
  if (number === undefined) return cell.textContent.trim();
  return number === 'NaN' ? NaN : Number(number);
}

// What has no number comes last either way.
function compare(a, b, up) {
  if (typeof a === 'number' || typeof b === 'number') {
    const missing = [a, b].map((value) => typeof value !== 'number' || Number.isNaN(value));
    if (missing[0] || missing[1]) return missing[0] - missing[1];
    return up ? a - b : b - a;
  }
  const order = a.localeCompare(b, 'en', { numeric: true });
  return up ? order : -order;
}

function sortTable(table, column, up) {
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => [row, sortsBy(row.cells[column])]);
  const isMean = (row) => row.classList.contains('mean');
  // Means stand below the classes, in their own order.
  rows.sort(([rowA, a], [rowB, b]) => {
    const means = isMean(rowA) + isMean(rowB);
    return means === 0 ? compare(a, b, up) : isMean(rowA) - isMean(rowB);
  });
  body.append(...rows.map(([row]) => row));
  [...table.tHead.rows[0].cells].forEach((head, index) => {
    if (index === column) head.setAttribute('aria-sort', up ? 'ascending' : 'descending');
    else head.removeAttribute('aria-sort');
  });
}

function makeSortable(table) {
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const isNumber = head.classList.contains('n');
    const sort = () => {
      const now = head.getAttribute('aria-sort');
      // Of numbers the largest is wanted first.
      const up = now === null ? !isNumber : now === 'descending';
      sortTable(table, column, up);
    };
    const button = el('button', { type: 'button', class: 'sort', onclick: sort }, head.textContent);
    head.replaceChildren(button);
  });
}

// A box that has nothing to scroll need not be a stop of the Tab key.
function watchScrolling(box) {
  const update = () => {
    const scrolls = box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight;
    if (scrolls) box.setAttribute('tabindex', '0');
    else box.removeAttribute('tabindex');
  };
  new ResizeObserver(update).observe(box);
  update();
}
