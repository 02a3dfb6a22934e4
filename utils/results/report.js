// Draws the report from `data`, which stands before this script in the page: see write_report for what it holds.
"use strict";

// Text reaches the page as text nodes and attributes alone: a name is never read as markup.
const find = selector => document.querySelector(selector);
const fill = (node, attributes, children) => {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
};
const html = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes, ...children) =>
  fill(document.createElementNS(find("svg").namespaceURI, tag), attributes, children);

const number = (value, digits, sign = false) => {
  if (Number.isNaN(value)) return "–";
  const text = Number.isFinite(value) ? Math.abs(value).toFixed(digits) : "∞";
  return (/[1-9∞]/.test(text) ? value < 0 ? "−" : sign ? "+" : "" : "") + text;
};
const count = value => value.toLocaleString("en");
const change = (after, before) => after === before ? 0 : after - before;  // 0 where both are infinite
const tone = value => value > 0 ? "good" : value < 0 ? "bad" : "";

const images = data.rows.map(([name, domain, inputPsnr, psnr, inputSsim, ssim, files]) => ({name, domain, inputPsnr, psnr,
  gain: change(psnr, inputPsnr), inputSsim, ssim, ssimGain: change(ssim, inputSsim), files}));
const domains = [...new Set(images.map(image => image.domain))].sort();
const color = domain => "c" + Math.max(domains.indexOf(domain), 0) % 6;
const dot = domain => domain ? [html("i", {class: "dot " + color(domain)})] : [];

// Head: the title and the four figures to read first.
document.title = find("h1").textContent = data.title;
find("#subtitle").textContent = data.subtitle;
find("#notes").append(...data.notes.map(note => html("p", {class: "note"}, note)));
const [, , inputPsnr, psnr, inputSsim, ssim] = data.parts[0];
const worse = ["gain", "ssimGain"].map(key => images.filter(image => image[key] < 0).length);
const gain = change(psnr, inputPsnr);
find(".tiles").append(...[
  ["PSNR", number(psnr, 2) + " dB", "hazy input " + number(inputPsnr, 2) + " dB", ""],
  ["SSIM", number(ssim, 4), "hazy input " + number(inputSsim, 4), ""],
  ["Gain", number(gain, 2, true) + " dB", "SSIM " + number(change(ssim, inputSsim), 4, true), tone(gain)],
  ["Images made worse", worse.map(count).join(" / "), `by PSNR / by SSIM, of ${count(images.length)}`,
    Math.max(...worse) ? "bad" : "good"],
].map(([label, value, below, kind]) => html("div", {class: "card tile"},
  html("span", {class: "quiet"}, label), html("b", {class: kind}, value), html("span", {class: "quiet"}, below))));

// Scores of all images and of each domain; settings and environment.
data.parts.forEach(([name, num, inputPsnr, psnr, inputSsim, ssim], i) => {
  const label = html("span", {class: "label"}, ...dot(i && name), name);
  const line = (title, before, after, digits) => [
    html("th", {class: "metric"}, title), html("td", {}, number(before, digits)), html("td", {}, number(after, digits)),
    html("td", {class: tone(change(after, before))}, number(change(after, before), digits, true)),
  ];
  const images = html("span", {class: "quiet"}, count(num));
  const head = html("th", {class: "text", scope: "rowgroup", rowspan: 2}, label, images);
  find(".summary tbody").append(html("tr", {}, head, ...line("PSNR", inputPsnr, psnr, 2)),
    html("tr", {}, ...line("SSIM", inputSsim, ssim, 4)));
});
for (const id of ["settings", "environment"])
  find("#" + id).append(html("tbody", {}, ...data[id].map(([key, value]) => html("tr", {},
    html("th", {class: "text", scope: "row"}, key), html("td", {class: "text"}, value)))));

// Histogram: one panel a domain, over one axis of gains, at most about 24 bins of a round width, an edge at zero.
const finite = images.filter(image => Number.isFinite(image.gain));
const low = finite.reduce((low, image) => Math.min(low, image.gain), 0);
const high = finite.reduce((high, image) => Math.max(high, image.gain), 0);
const least = (high - low || 1) / 24, scale = 10 ** Math.floor(Math.log10(least));
const binWidth = [1, 2, 5, 10].map(step => step * scale).find(width => width >= least);
const first = Math.floor(low / binWidth), last = Math.max(Math.ceil(high / binWidth), first + 1);
const left = 46, width = 440, height = 84, panel = 130;  // pixels
const x = gain => left + width * (gain / binWidth - first) / (last - first);
const histogram = domains.map(domain => {
  const counts = Array(last - first).fill(0), inside = finite.filter(image => image.domain === domain);
  for (const image of inside) counts[Math.min(Math.floor(image.gain / binWidth), last - 1) - first] += 1;
  return {domain, counts, inside, all: images.filter(image => image.domain === domain).length};
});
const most = Math.max(1, ...histogram.flatMap(part => part.counts));
histogram.forEach(({domain, counts, inside, all}, i) => {
  const base = i * panel + 114, mean = inside.reduce((sum, image) => sum + image.gain, 0) / inside.length;
  const text = (x, y, ...children) => svg("text", {x, y, "text-anchor": "end"}, ...children);
  const line = (kind, x1, y1, x2, y2) => svg("line", {class: kind, x1, y1, x2, y2});
  const infinite = all - inside.length;
  find("svg").append(
    svg("text", {x: left, y: base - height - 12}, svg("tspan", {class: "head"}, domain || "all"),
      " " + count(all) + " images" + (inside.length ? ", mean " + number(mean, 2, true) + " dB" : "")
      + (infinite ? ", " + count(infinite) + " infinite" : "")),
    line("axis", left, base - height, left + width, base - height),
    line("axis", left, base + 0.5, left + width, base + 0.5),
    text(left - 6, base - height + 4, count(most)), text(left - 6, base + 4, "0"),
    ...counts.flatMap((num, j) => {
      const tall = Math.max(height * num / most, 1), edges = [first + j, first + j + 1].map(edge => edge * binWidth);
      const range = edges.map(edge => number(edge, 2, true)).join(" to ");
      return num ? [svg("rect", {class: color(domain), x: x(edges[0]) + 0.5, y: base - tall,
        width: Math.max(x(edges[1]) - x(edges[0]) - 1, 1), height: tall, rx: 1},
        svg("title", {}, range + " dB: " + count(num) + " images"))] : [];
    }),
    line("zero", x(0), base - height, x(0), base),
  );
});
const bottom = Math.max(domains.length, 1) * panel, stride = Math.ceil((last - first + 1) / 9);
const digits = Math.max(0, -Math.floor(Math.log10(binWidth * 1.0001)));
const label = (x, y, text) => find("svg").append(svg("text", {x, y, "text-anchor": "middle"}, text));
for (let j = first; j <= last; j++)
  if (j % stride === 0) label(x(j * binWidth), bottom + 4, number(j * binWidth, digits, true));
label(left + width / 2, bottom + 26, "PSNR gain, dB");
find("svg").setAttribute("viewBox", `0 0 ${left + width + 22} ${bottom + 34}`);

// A slider between two of an image's hazy, dehazed and clear picture; `urls` in that order, `head` above it.
const sides = ["hazy", "dehazed", "clear"];
function slider(image, urls, head) {
  const range = html("input", {type: "range", min: 0, max: 100, step: 0.5, value: 50, autocomplete: "off",
    "aria-label": "Share of the left picture of " + image.name});
  const spans = ["left", "right"].map(side => html("span", {class: side}));
  const pictures = sides.map((side, i) => html("img", {class: side, src: urls[i], alt: side}));
  const frame = html("div", {class: "frame"}, ...pictures, ...spans, range, html("div", {class: "handle"}));
  pictures[1].addEventListener("load", () => {
    const ratio = pictures[1].naturalWidth / pictures[1].naturalHeight;
    frame.style.aspectRatio = ratio;
    frame.style.maxWidth = `calc(75vh * ${ratio})`;
  });
  const radio = (pair, i) => html("label", {}, html("input", {type: "radio", name: "pair-" + head.textContent + image.name,
    value: pair.join(" "), autocomplete: "off", ...(i ? {} : {checked: ""})}), pair.join(" | "));
  const pairs = [["hazy", "dehazed"], ["hazy", "clear"], ["dehazed", "clear"]].map(radio);
  const figure = html("figure", {class: "example card"}, head,
    html("p", {class: "quiet"}, image.name, html("br", {}), image.domain ? image.domain + ", " : "",
      `PSNR ${number(image.inputPsnr, 2)} → ${number(image.psnr, 2)} dB`, html("br", {}),
      `SSIM ${number(image.inputSsim, 4)} → ${number(image.ssim, 4)}`),
    frame, html("fieldset", {class: "pairs", "aria-label": "Pictures to compare"}, ...pairs));
  const show = () => {
    const pair = figure.querySelector(".pairs input:checked").value.split(" ");
    frame.dataset.pair = pair.join(" ");
    frame.style.setProperty("--split", range.value + "%");
    spans.forEach((span, i) => span.textContent = pair[i]);
    range.setAttribute("aria-valuetext", `${range.value} % ${pair[0]}, the rest ${pair[1]}`);
  };
  figure.addEventListener("input", show);
  show();
  return figure;
}
const heading = (label, image) => html("h3", {}, label + ": ",
  html("span", {class: tone(image.gain)}, number(image.gain, 2, true) + " dB"));

// Examples: their pictures are part of the page.
find("#chosen").hidden = !data.examples.length;
for (const {label, index, pictures} of data.examples)
  find(".examples").append(slider(images[index], pictures, heading(label[0].toUpperCase() + label.slice(1), images[index])));

// Every other image: its pictures are files beside the page and in the data set.
function open(image) {
  const urls = image.files.map(file => file.split("/").map(encodeURIComponent).join("/"));
  const close = html("button", {class: "close", "aria-label": "Close"}, "×");
  close.addEventListener("click", () => find("dialog").close());
  find("dialog").replaceChildren(close, slider(image, urls, heading("Gain", image)));
  find("dialog").showModal();
}
find("dialog").addEventListener("click", event => event.target === find("dialog") && find("dialog").close());

// Every image: a click on a head sorts, a second turns the order.
const columns = [["name", "name"], ["domain", "domain"], ["hazy PSNR", "inputPsnr", 2], ["PSNR", "psnr", 2],
  ["gain, dB", "gain", 2, true], ["hazy SSIM", "inputSsim", 4], ["SSIM", "ssim", 4],
  ["SSIM gain", "ssimGain", 4, true]];
for (const image of images) {
  const cells = columns.slice(2).map(([, key, digits, sign]) =>
    html("td", sign ? {class: tone(image[key])} : {}, number(image[key], digits, sign)));
  const name = image.files ? html("button", {}, image.name) : image.name;
  image.line = html("tr", image.files ? {class: "opens"} : {}, html("td", {class: "text"}, name),
    html("td", {class: "text"}, ...dot(image.domain), image.domain), ...cells);
  if (image.files) image.line.addEventListener("click", () => open(image));
}
const collator = new Intl.Collator(undefined, {numeric: true});
const heads = columns.map(([title, key, digits]) => {
  const head = html("th", digits ? {} : {class: "text"}, html("button", {}, title));
  head.addEventListener("click", () => {
    const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    const compare = digits ? (a, b) => (a > b) - (a < b) : collator.compare;
    images.sort((a, b) => sign * compare(a[key], b[key]));
    find("#images tbody").append(...images.map(image => image.line));
  });
  return head;
});
find("#images thead tr").append(...heads);
heads[4].click();  // the lowest gain first
find("#filter").addEventListener("input", event => {
  const wanted = event.target.value.toLowerCase();
  for (const {line, name, domain} of images) line.hidden = !(name + " " + domain).toLowerCase().includes(wanted);
});
