// Says from inside a page how it was laid out, to the page that frames it.
addEventListener("load", () => {
  const shown = (element) =>
    element.getBoundingClientRect().height > 20 && getComputedStyle(element).visibility === "visible";
  const scrolls = (element) => {
    const box = element.closest(".scroll, pre, nav");
    return box !== null && getComputedStyle(box).overflowX !== "visible";
  };
  const images = [...document.images];
  const texts = [...document.querySelectorAll(".plot text")];
  const outside = [...document.querySelectorAll("main *")].filter(
    (element) => !scrolls(element) && element.getBoundingClientRect().right > innerWidth + 1
  );
  const meet = (a, b) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
  const overlapping = [...document.querySelectorAll("figure")].filter((figure) => {
    const boxes = [...figure.children].map((child) => child.getBoundingClientRect());
    return boxes.some((box, place) => boxes.slice(place + 1).some((other) => meet(box, other)));
  });
  const badge = document.querySelector(".badge.masking");
  // A translucent colour as it looks on the paper of the section.
  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d");
  const painted = (element) => {
    for (const layer of [element.closest("section"), element]) {
      canvas.fillStyle = getComputedStyle(layer).backgroundColor;
      canvas.fillRect(0, 0, 1, 1);
    }
    return `rgb(${[...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3)})`;
  };
  parent.postMessage(JSON.stringify({
    width: innerWidth,
    content: document.documentElement.scrollWidth,
    images: images.length,
    broken: images.filter((image) => !image.complete || image.naturalWidth === 0).length,
    reachable: [...document.querySelectorAll("nav a")].map((link) => shown(document.querySelector(link.hash))),
    // Links within the page that lead nowhere, and sections that are not shown.
    nowhere: [...document.querySelectorAll("a[href^='#']")].filter((link) => !document.querySelector(link.hash)).map(String),
    hidden: [...document.querySelectorAll("section")].filter((section) => !shown(section)).map((section) => section.id),
    navigation: document.querySelector("nav").getBoundingClientRect().height,
    outside: outside.map((element) => element.outerHTML.slice(0, 80)),
    overlapping: overlapping.map((element) => element.innerText.slice(0, 80)),
    // Pixels of a plot's text on the screen: its size times the plot's scale.
    plot_text: Math.min(...texts.map((text) => parseFloat(getComputedStyle(text).fontSize) * text.ownerSVGElement.getScreenCTM().a)),
    background: getComputedStyle(document.querySelector("section")).backgroundColor,
    ink: getComputedStyle(document.body).color,
    badge: badge && getComputedStyle(badge).color,
    badge_paper: badge && getComputedStyle(badge).backgroundColor,
    heat: [...document.querySelectorAll(".heat")].map((cell) => [painted(cell), getComputedStyle(cell).color]),
    tick: getComputedStyle(texts[0]).fill,
  }), "*");
});
