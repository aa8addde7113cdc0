"use strict";
// Changes colours and scale. Pixels of a heatmap are levels k = -n ... n, R = sign(k) (k / n)² top, and the palette of the PNG says
// which colour a level has: another colour map or another scale is another palette, and the pixels stay as they are.
(() => {
  const maps = JSON.parse(document.getElementById("colour-maps").textContent);
  const controls = document.querySelector(".controls");
  const body = document.body;
  const OPACITY = 0.85, FAINT = 0.03;

  const colourOf = (map, value) => {
    const at = Math.min(Math.max(value, -1), 1), places = map.positions;
    let end = 1;
    while (end < places.length - 1 && at > places[end]) end++;
    const share = (at - places[end - 1]) / (places[end] - places[end - 1]);
    return map.colours[end].map((c, k) => Math.round(map.colours[end - 1][k] * (1 - share) + c * share));
  };
  const css = (colour) => `rgb(${colour.join(",")})`;
  const luminance = (colour) => {
    const [r, g, b] = colour.map((c) => c / 255).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };

  // PNG: chunks of length, name, content and a checksum of the latter two.
  const remainders = Array.from({ length: 256 }, (_, n) => {
    for (let k = 0; k < 8; k++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1;
    return n >>> 0;
  });
  const checksum = (bytes) => {
    let sum = 0xffffffff;
    for (const byte of bytes) sum = (sum >>> 8) ^ remainders[(sum ^ byte) & 255];
    return (sum ^ 0xffffffff) >>> 0;
  };
  const recoloured = (address, map, ratio) => {
    const bytes = Uint8Array.from(atob(address.slice(address.indexOf(",") + 1)), (c) => c.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    for (let at = 8, n = 0; at < bytes.length; at += 12 + view.getUint32(at)) {
      const length = view.getUint32(at);
      const name = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
      if (name !== "PLTE" && name !== "tRNS") continue;
      const entries = name === "PLTE" ? length / 3 : length;
      n = n || (entries - 1) / 2;
      for (let entry = 0; entry < entries; entry++) {
        const share = (entry - n) / n;
        const value = Math.min(Math.max(Math.sign(share) * share * share * ratio, -1), 1);
        if (name === "PLTE") bytes.set(colourOf(map, value), at + 8 + 3 * entry);
        else bytes[at + 8 + entry] = Math.round(255 * OPACITY * Math.sqrt(Math.abs(value)));
      }
      view.setUint32(at + 8 + length, checksum(bytes.subarray(at + 4, at + 8 + length)));
    }
    let text = "";
    for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));
    return "data:image/png;base64," + btoa(text);
  };

  const redraw = () => {
    const map = maps[controls.elements.colours.value];
    const joint = controls.elements.joint.value === "yes";
    const which = joint ? "joint" : "own";
    const neutral = css(colourOf(map, 0));
    const steps = Array.from({ length: 33 }, (_, k) => css(colourOf(map, k / 16 - 1)));
    for (const bar of document.querySelectorAll(".scale .bar")) bar.style.background = `linear-gradient(to right,${steps})`;
    for (const scale of document.querySelectorAll(".scale")) {
      const ends = scale.dataset[which].split("|");
      scale.querySelectorAll(".ends span").forEach((end, k) => (end.textContent = ends[k]));
    }
    for (const stack of document.querySelectorAll(".stack")) stack.style.background = neutral;
    for (const picture of document.querySelectorAll(".levels")) {
      const name = picture.tagName.toLowerCase() === "img" ? "src" : "href";
      const ratio = Number(picture.closest("[data-own]").dataset[which]);
      picture.setAttribute(name, recoloured(picture.getAttribute(name), map, ratio));
    }
    for (const part of document.querySelectorAll("[data-share]")) {
      const around = part.closest("[data-own]");
      const share = Number(part.dataset.share), value = share * Number(around.dataset[which]);
      const colour = colourOf(map, value);
      if (part.tagName === "I") {
        part.style.background = css(colour);
        part.style.width = `${50 * Math.abs(share) * (joint ? Number(around.dataset.reach) : 1)}%`;
      } else {
        const faint = Math.abs(value) < FAINT;
        part.style.background = faint ? "" : css(colour);
        part.style.color = faint ? "" : luminance(colour) > 0.179 ? "#000" : "#fff";
      }
    }
  };

  for (const name of Object.keys(maps)) controls.elements.colours.add(new Option(name, name));
  if (!(body.dataset.colours in maps)) controls.elements.colours.parentElement.remove();
  else controls.elements.colours.value = body.dataset.colours;
  controls.elements.joint.value = body.dataset.joint;
  controls.addEventListener("change", redraw);
  controls.hidden = false;
})();
