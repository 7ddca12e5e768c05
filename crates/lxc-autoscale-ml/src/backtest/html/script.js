'use strict';
// Tells the reason of the decision under the pointer or the keyboard's focus.
const tip = document.getElementById('tip');
const show = (event) => {
  const text = event.target instanceof SVGElement && event.target.getAttribute('tabindex') && event.target.getAttribute('aria-label');
  tip.hidden = !text;
  if (!text) return;
  tip.textContent = text;
  const mark = event.target.getBoundingClientRect();
  const left = Math.min(Math.max(mark.left + 10, 8), innerWidth - tip.offsetWidth - 8);
  const below = mark.bottom + 8 + tip.offsetHeight < innerHeight;
  tip.style.left = `${left}px`;
  tip.style.top = below ? `${mark.bottom + 8}px` : `${mark.top - tip.offsetHeight - 8}px`;
};
for (const name of ['mouseover', 'focusin', 'click']) document.addEventListener(name, show);
document.addEventListener('scroll', () => { tip.hidden = true; }, { passive: true });
document.addEventListener('keydown', (event) => { if (event.key === 'Escape') tip.hidden = true; });
