// Each text whose colour's contrast with what is behind it, as WCAG 2 reckons, is below AA's 4.5.
(() => {
  const parse = (colour) => {
    const numbers = colour.match(/[\d.]+/g).map(Number);
    const [r, g, b] = numbers.map((part) => (colour.startsWith("color(") ? part * 255 : part));
    return [r, g, b, numbers[3] ?? 1];
  };
  const over = (above, below) =>
    [0, 1, 2].map((i) => above[i] * above[3] + below[i] * (1 - above[3])).concat(1);
  const behind = (element) => {
    const layers = [];
    for (; element; element = element.parentElement)
      layers.unshift(parse(getComputedStyle(element).backgroundColor));
    return layers.reduce((below, above) => over(above, below), [255, 255, 255, 1]);
  };
  const luminance = (colour) => {
    const [r, g, b] = colour.map((part) =>
      part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4,
    );
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const written = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!written || !element.getClientRects().length || element.closest("noscript, .unseen, .skip")) continue;
    const back = behind(element);
    const [high, low] = [luminance(over(parse(getComputedStyle(element).color), back)), luminance(back)].sort(
      (a, b) => b - a,
    );
    const ratio = (high + 0.05) / (low + 0.05);
    if (ratio < 4.5)
      found.push(
        `${element.tagName}.${element.className} ${element.textContent.slice(0, 30)} ${ratio.toFixed(2)}`,
      );
  }
  return found;
})();
