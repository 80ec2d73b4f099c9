// Keeps the page live: every two seconds the part that changes is fetched as the server renders it, and replaced. Texts
// are escaped in one place then, on the server. Nothing is fetched while the page is hidden.
'use strict';
const EVERY = 2000;
const LONGEST = 5000;
const live = document.getElementById('live');
const connection = document.getElementById('connection');
let timer = 0;
let lost = null;

async function refresh() {
  try {
    const answer = await fetch('/', { headers: { Accept: 'text/html' }, cache: 'no-store', redirect: 'error',
      signal: AbortSignal.timeout(LONGEST) });
    if (!answer.ok) throw new Error('the edge answers ' + answer.status);
    const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
    const fresh = page.getElementById('live');
    if (!fresh) throw new Error('the answer is another page');
    const used = isUsed();
    if (!used) replace(fresh, page.title);
    lost = null;
    connection.textContent = used ? 'paused while text is selected' : 'live';
    connection.className = 'quiet';
  } catch (error) {
    lost = lost || new Date();
    connection.textContent = 'No answer since ' + lost.toLocaleTimeString() + ': ' + error.message;
    connection.className = 'bad';
    document.title = 'no answer';
  }
  schedule();
}

// What is selected stays selected.
function isUsed() {
  const selection = document.getSelection();
  return !selection.isCollapsed && live.contains(selection.anchorNode);
}

function replace(fresh, title) {
  const focused = live.contains(document.activeElement) ? document.activeElement.id : '';
  const scrolled = [...live.querySelectorAll('.scroll')].map((element) => element.scrollLeft);
  live.replaceChildren(...fresh.childNodes);
  [...live.querySelectorAll('.scroll')].forEach((element, at) => { element.scrollLeft = scrolled[at] || 0; });
  if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  document.title = title;
}

function schedule() {
  clearTimeout(timer);
  if (!document.hidden) timer = setTimeout(refresh, EVERY);
}

document.addEventListener('visibilitychange', () => {
  clearTimeout(timer);
  if (!document.hidden) refresh();
});
schedule();
